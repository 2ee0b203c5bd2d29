"""The map explorer in a real JupyterLab, on a real kernel."""

import contextlib
import re

import pytest
from lab_page import DARK, LIGHT
from playwright.sync_api import expect

SOURCE = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 8); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, __u64); __uint(max_entries, 4); } total SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } lonely SEC(".maps");
const volatile __u32 pid = 0;
SEC("syscall") int count(void *ctx) {
    __u32 key = pid; __u64 one = 1, *value = bpf_map_lookup_elem(&counts, &key);
    if (value) __sync_fetch_and_add(value, 1); else bpf_map_update_elem(&counts, &key, &one, BPF_ANY);
    return 0;
}
SEC("syscall") int sum(void *ctx) {
    __u32 key = 0; __u64 *value = bpf_map_lookup_elem(&total, &key);
    if (value) __sync_fetch_and_add(value, 1);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def notebook(open_notebook, machine):
    notebook = open_notebook(
        f"import bpflab as bl, numpy as np\nlab = bl.Lab({machine!r})\nSOURCE = {SOURCE!r}", width=1200
    )
    notebook.page.get_by_text("lab on").wait_for()
    return notebook


@pytest.fixture
def show(notebook):
    """``show(code, made="m", setup=...)`` runs `setup` and displays ``bl.explore(made)``; gives the explorer."""

    def show_one(setup="", what="m"):
        if setup:
            notebook.execute(setup)
        return Explorer(notebook.run(f"w = bl.explore({what})\nw"))

    yield show_one
    notebook.delete_cells()
    assert notebook.errors == []
    assert notebook.outside == []


class Explorer:
    """What a reader sees and does."""

    def __init__(self, output):
        self.root = output.locator(".bpflab-explorer")
        self.grid = self.root.get_by_role("grid")
        self.rows = self.grid.locator("tbody tr")
        self.said = self.root.locator(".bx-said")
        self.search = self.root.get_by_role("searchbox")
        self.root.wait_for()

    def row(self, key):
        """The row whose first cell reads `key`."""
        return self.grid.locator(f'tbody tr:has(> td:first-child:text-is("{key}"))')

    def cell(self, row, label):
        """The cell of the row whose key reads `row` in the column `label`."""
        labels = self.grid.locator("thead .bx-label").all_inner_texts()
        return self.row(row).locator("td").nth(labels.index(label))

    def column(self, label):
        """The texts of a column of the page."""
        labels = self.grid.locator("thead .bx-label").all_inner_texts()
        return [row.locator("td").nth(labels.index(label)).text_content() for row in self.rows.all()]

    def change(self, row, label, text):
        """Edit a cell with the mouse and Enter; gives the cell."""
        cell = self.cell(row, label)
        cell.dblclick()
        field = self.grid.get_by_role("textbox")
        field.fill(text)
        field.press("Enter")
        return cell

    @property
    def alert(self):
        """The error that stands next to a field."""
        return self.root.get_by_role("alert").filter(visible=True, has_text=re.compile("."))

    def button(self, name):
        return self.root.get_by_role("button", name=name, exact=True)

    def fill(self, **fields):
        """Fill in the open form, by label, and send it with Enter."""
        form = self.root.get_by_role("form")
        for label, text in fields.items():
            box = form.get_by_role("textbox", name=label)
            box.fill(text)
        box.press("Enter")

    def insert(self, verb="Insert", **fields):
        if not self.root.get_by_role("form").count():
            self.button(f"{verb}…").click()
        self.fill(**fields)

    @contextlib.contextmanager
    def refreshed(self):
        """Wait until the table was refreshed after the block."""
        yield
        before = int(self.root.get_attribute("data-refreshes"))
        self.root.page.wait_for_function(
            "([e, n]) => Number(e.dataset.refreshes) > n + 1", arg=[self.root.element_handle(), before]
        )


HASH = "m = lab.create_map('hash', 'u32', 'u64', {n}, name='counts')\nfor i in range({n} - 2): m[i] = i * 10\n"


def test_a_value_edited_in_the_browser_is_read_back_from_the_kernel(notebook, show):
    explorer = show(HASH.format(n=6))
    explorer.change("3", "value", "18446744073709551615")
    expect(explorer.said).to_have_text("changed value of 3")
    assert notebook.execute("m[3]") == str(2**64 - 1)
    expect(explorer.cell("3", "value")).to_have_text(str(2**64 - 1))
    explorer.change("3", "value", "0x20000000000001")
    expect(explorer.cell("3", "value")).to_have_text(str(2**53 + 1))
    assert notebook.execute("m[3]") == str(2**53 + 1)


def test_an_entry_made_by_a_program_appears_and_its_change_is_lit(notebook, show):
    explorer = show("obj = lab.load(SOURCE, name='demo', pid=4711)\nm = obj.maps['counts']")
    expect(explorer.grid).to_be_visible()
    expect(explorer.rows).to_have_count(0)
    notebook.execute("obj.programs['count'].test_run()")
    expect(explorer.row("4711")).to_have_class(re.compile("bx-new"))
    expect(explorer.cell("4711", "value")).to_have_text("1")
    expect(explorer.root.locator(".bx-pulse")).to_contain_text("+1 new")
    notebook.execute("for _ in range(5): obj.programs['count'].test_run()")
    expect(explorer.cell("4711", "value")).to_have_class(re.compile("bx-lit"))
    expect(explorer.cell("4711", "value")).to_have_text("6")
    expect(explorer.cell("4711", "per second")).to_have_text(re.compile(r"\+\d"))
    notebook.execute("del m[4711]")
    expect(explorer.rows).to_have_count(0)


def test_insert_and_delete(notebook, show):
    explorer = show(HASH.format(n=4))
    explorer.insert(key="99", value="1_000")
    expect(explorer.row("99")).to_be_visible()
    assert notebook.execute("m[99]") == "1000"
    explorer.row("99").get_by_role("button", name="delete entry 99").click()
    explorer.button("Keep").click()
    expect(explorer.row("99")).to_be_visible()
    explorer.row("99").get_by_role("button", name="delete entry 99").click()
    explorer.button("Delete").click()
    expect(explorer.row("99")).to_have_count(0)
    assert notebook.execute("99 in m") == "False"
    expect(explorer.said).to_have_text("deleted 99")


def test_values_of_the_wrong_type_are_refused_next_to_the_field(notebook, show):
    explorer = show(HASH.format(n=4))
    explorer.change("1", "value", "many")
    expect(explorer.alert).to_contain_text("'many' (str) is not an integer")
    field = explorer.grid.get_by_role("textbox")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("-1")
    field.press("Enter")
    expect(explorer.alert).to_contain_text("-1 is out of range 0..18446744073709551615")
    field.press("Escape")
    expect(explorer.cell("1", "value")).to_have_text("10")
    assert notebook.execute("m[1]") == "10"
    explorer.insert(key="70000000000", value="1")
    expect(explorer.alert).to_contain_text("70000000000 is out of range 0..4294967295")
    expect(explorer.root.get_by_role("textbox", name="key")).to_be_focused()
    explorer.fill(key="")
    expect(explorer.alert).to_contain_text("is not an integer")
    explorer.fill(key="1")
    expect(explorer.alert).to_contain_text("1 is there already")
    assert notebook.execute("len(m)") == "2"


def test_a_frozen_map_refuses_in_the_labs_words(notebook, show):
    explorer = show(HASH.format(n=4) + "m.freeze()")
    expect(explorer.root.get_by_text("frozen", exact=True)).to_be_visible()
    explorer.change("1", "value", "5")
    expect(explorer.alert).to_contain_text("map 'counts': not written at key 1: it is frozen")
    explorer.grid.get_by_role("textbox").press("Escape")
    explorer.rows.first.get_by_role("button").click()
    explorer.button("Delete").click()
    expect(explorer.alert).to_contain_text("it is frozen")
    explorer.button("Keep").click()
    explorer.insert(key="9", value="9")
    expect(explorer.alert).to_contain_text("it is frozen")
    assert notebook.execute("sorted(m.items())") == "[(0, 0), (1, 10)]"


def test_a_full_map_refuses_in_the_labs_words(notebook, show):
    explorer = show(HASH.format(n=4) + "m[8] = m[9] = 1")
    expect(explorer.root.get_by_role("meter")).to_have_attribute("aria-valuetext", "4 of 4 entries")
    explorer.insert(key="77", value="1")
    expect(explorer.alert).to_contain_text("it is full with max_entries = 4; delete something")
    assert notebook.execute("77 in m") == "False"


def test_a_million_entries(notebook, show):
    explorer = show(
        "m = lab.create_map('hash', 'u32', 'u64', 1_100_000, name='many')\n"
        "keys = np.arange(1_000_000, dtype='u4')\n"
        "m.update_batch(keys, keys.astype('u8') * 7)"
    )
    expect(explorer.root.get_by_role("meter")).to_have_attribute("aria-valuetext", "1,000,000 of 1,100,000 entries")
    expect(explorer.grid).to_have_attribute("aria-rowcount", "1000002")
    expect(explorer.rows).to_have_count(20)
    explorer.grid.get_by_role("button", name="key").click()
    expect(explorer.row("999999")).to_be_visible()
    explorer.grid.get_by_role("button", name="key").click()
    expect(explorer.row("0")).to_be_visible()
    expect(explorer.grid.get_by_role("columnheader", name="key")).to_have_attribute("aria-sort", "ascending")
    assert explorer.column("key") == [str(i) for i in range(20)]
    explorer.root.get_by_role("textbox", name="page").fill("25,001")
    explorer.root.get_by_role("textbox", name="page").press("Enter")
    expect(explorer.row("500000")).to_be_visible()
    assert explorer.column("key") == [str(i) for i in range(500_000, 500_020)]
    explorer.button("last page").click()
    expect(explorer.row("999999")).to_be_visible()
    explorer.search.fill("value = 4900")
    expect(explorer.rows).to_have_count(1)
    expect(explorer.row("700")).to_be_visible()
    expect(explorer.root.get_by_text("1 of 1000000 entries found")).to_be_attached()
    expect(explorer.root.locator(".bx-pulse")).to_contain_text("1 of 1,000,000 found")
    explorer.search.fill("nosuch = 4900")
    expect(explorer.alert).to_contain_text("no column 'nosuch'; the columns are key, value, rate")
    explorer.search.fill("key > 999997")
    expect(explorer.rows).to_have_count(2)
    explorer.change("999999", "value", "1")
    expect(explorer.cell("999999", "value")).to_have_text("1")
    assert notebook.execute("m[999999]") == "1"
    pages = notebook.execute("f = w._feed; f.every(f.views[str(m.id)]) >= 6 * f.views[str(m.id)].cost")
    assert pages == "True"


def test_per_cpu_values_have_a_column_each_and_a_sum(notebook, show):
    explorer = show(
        "m = lab.create_map('percpu_hash', 'char[16]', 'u64', 8, name='io')\n"
        "m['bash'] = [2**63 + i for i in range(m.ncpus)]"
    )
    total = sum(2**63 + i for i in range(int(notebook.execute("m.ncpus")))) % 2**64
    expect(explorer.cell("bash", "sum")).to_have_text(str(total))
    expect(explorer.cell("bash", "cpu0")).to_have_text(str(2**63))
    explorer.change("bash", "cpu0", "5")
    expect(explorer.said).to_have_text("changed value of bash")
    assert notebook.execute("m['bash'][0], m['bash'][1:] == [2**63 + i for i in range(1, m.ncpus)]") == "(5, True)"
    explorer.cell("bash", "sum").dblclick()
    expect(explorer.said).to_have_text("a sum cannot be changed; change the value of a CPU")
    explorer.insert(key="zsh", value="3")
    expect(explorer.cell("zsh", "sum")).to_have_text("3")
    assert notebook.execute("m['zsh'][0], sum(m['zsh'])") == "(3, 3)"


def test_lpm_keys_are_prefixes(notebook, show):
    explorer = show(
        "m = lab.create_map('lpm_trie', np.dtype([('prefixlen', 'u4'), ('data', 'u1', (4,))]), 'u32', 16, name='routes')\n"
        "m['10.0.0.0/8'] = 1; m['10.1.0.0/16'] = 2; m['0.0.0.0/0'] = 3; m['192.168.0.0/16'] = 4"
    )
    expect(explorer.rows).to_have_count(4)
    explorer.insert(prefix="10.1.2.0/24", value="5")
    expect(explorer.row("10.1.2.0/24")).to_be_visible()
    assert notebook.execute("m['10.1.2.0/24']") == "5"
    explorer.fill(prefix="10.1.2.0/33")
    expect(explorer.alert).to_contain_text("prefix")
    explorer.search.fill("10.1.2.3")
    expect(explorer.rows).to_have_count(4)
    expect(explorer.row("192.168.0.0/16")).to_have_count(0)
    explorer.change("10.0.0.0/8", "value", "77")
    expect(explorer.said).to_have_text("changed value of 10.0.0.0/8")
    assert notebook.execute("m['10.0.0.0/8']") == "77"


def test_a_map_of_maps_opens_its_inner_maps(notebook, show):
    explorer = show(
        "inner = lab.create_map('hash', 'u32', 'u64', 8, name='ports'); inner[443] = 12\n"
        "m = lab.create_map('hash_of_maps', 'u32', None, 8, name='devices', inner=inner); m[2] = inner"
    )
    explorer.root.get_by_role("button", name="ports").click()
    expect(explorer.root.get_by_role("heading", name="ports")).to_be_visible()
    explorer.change("443", "value", "13")
    expect(explorer.said).to_have_text("changed value of 443")
    assert notebook.execute("inner[443]") == "13"
    explorer.button("devices").click()
    expect(explorer.root.get_by_role("heading", name="devices")).to_be_visible()
    expect(explorer.root.get_by_role("button", name="ports")).to_be_visible()


def test_structs_show_their_members_and_one_can_be_changed(notebook, show):
    explorer = show(
        "key = np.dtype([('saddr', '>u4'), ('port', '>u2'), ('proto', 'u1')], align=True)\n"
        "value = np.dtype([('packets', 'u8'), ('comm', 'S16'), ('mac', 'u1', (6,))], align=True)\n"
        "m = lab.create_map('hash', key, value, 8, name='flows')\n"
        "m[('10.0.0.1', 443, 6)] = (7, 'curl', '02:00:00:00:00:01')"
    )
    assert [explorer.cell("10.0.0.1", c).text_content() for c in ("port", "packets", "comm", "mac")] == [
        "443", "7", "curl", "02:00:00:00:00:01",
    ]  # fmt: skip
    explorer.change("10.0.0.1", "comm", "wget")
    expect(explorer.cell("10.0.0.1", "comm")).to_have_text("wget")
    assert notebook.execute("m[('10.0.0.1', 443, 6)][:2]") == "(7, 'wget')"
    explorer.change("10.0.0.1", "comm", "a name of more than sixteen bytes")
    expect(explorer.alert).to_contain_text("takes 33 bytes, 16 are there")
    explorer.grid.get_by_role("textbox").press("Escape")
    explorer.insert(saddr="10.0.0.2", port="80", packets="3", mac="02:00:00:00:00:02")
    expect(explorer.row("10.0.0.2")).to_be_visible()
    assert notebook.execute("tuple(m[('10.0.0.2', 80, 0)])") == "(3, '', [2, 0, 0, 0, 0, 2])"
    explorer.cell("10.0.0.2", "port").dblclick()
    expect(explorer.said).to_contain_text("a key cannot be changed")


def test_an_array_has_no_insert_and_no_delete(notebook, show):
    explorer = show("m = lab.create_map('array', 'u32', 'u64', 1000, name='hist')\nm[3] = 9")
    expect(explorer.root).to_contain_text("1,000 elements")
    expect(explorer.button("Insert…")).to_have_count(0)
    expect(explorer.rows.first.get_by_role("button")).to_have_count(0)
    explorer.change("19", "value", "5")
    expect(explorer.said).to_have_text("changed value of 19")
    assert notebook.execute("m[19]") == "5"
    explorer.search.fill("value > 0")
    expect(explorer.rows).to_have_count(2)


def test_a_queue_shows_its_next_element_and_takes_none_out(notebook, show):
    explorer = show("m = lab.create_map('queue', None, 'u32', 2, name='jobs')")
    expect(explorer.root).to_contain_text("The kernel cannot list a queue")
    expect(explorer.root).to_contain_text("it is empty")
    explorer.insert("Push", value="7")
    expect(explorer.rows).to_have_text(["7"])
    explorer.fill(value="8")
    expect(explorer.said).to_have_text("pushed 8 onto jobs")
    explorer.fill(value="9")
    expect(explorer.alert).to_contain_text("it is full with max_entries = 2")
    with explorer.refreshed():
        pass
    expect(explorer.rows).to_have_text(["7"])
    explorer.button("Pop").click()
    expect(explorer.said).to_have_text("popped 7")
    expect(explorer.rows).to_have_text(["8"])
    assert notebook.execute("m.pop()") == "8"


def test_a_bloom_filter_answers(notebook, show):
    explorer = show("m = lab.create_map('bloom_filter', None, 'u32', 100, name='seen')")
    explorer.insert("Add", value="5")
    expect(explorer.said).to_have_text("added 5 to seen")
    explorer.button("Ask…").click()
    explorer.fill(value="5")
    expect(explorer.said).to_have_text("yes, probably: it was added, or collides with values that were")


def test_pin_and_unpin(notebook, show):
    explorer = show(HASH.format(n=4))
    explorer.button("Pin…").click()
    explorer.fill(path="/tmp/counts")
    expect(explorer.alert).to_contain_text("'/tmp/counts' names nothing in the BPF filesystem")
    explorer.fill(path="/sys/fs/bpf/mine")
    expect(explorer.said).to_have_text("pinned at /sys/fs/bpf/mine")
    assert notebook.execute("lab.pinned('/sys/fs/bpf/mine').id == m.id") == "True"
    explorer.button("unpin /sys/fs/bpf/mine").click()
    expect(explorer.said).to_have_text("unpinned /sys/fs/bpf/mine")
    assert notebook.execute("m.pins") == "[]"


def test_an_object_shows_which_program_uses_which_map(notebook, show):
    explorer = show("obj = lab.load(SOURCE, name='demo', pid=1)", what="obj")
    tabs = explorer.root.get_by_role("tab")
    assert sorted(tab.get_attribute("aria-label") for tab in tabs.all()) == [
        "counts, hash, used by count",
        "lonely, ringbuf, used by no program",
        "total, array, used by sum",
    ]
    expect(explorer.root.locator(".bx-lines path")).to_have_count(2)
    explorer.root.get_by_role("tab", name="total").click()
    expect(explorer.root.get_by_role("heading", name="total")).to_be_visible()
    expect(explorer.root.locator(".bx-lines path.bx-lit")).to_have_count(1)
    notebook.execute("obj.programs['sum'].test_run()")
    expect(explorer.cell("0", "value")).to_have_text("1")
    explorer.root.get_by_role("tab", name="total").press("ArrowDown")
    expect(explorer.root.get_by_role("tab", selected=True)).to_be_focused()
    explorer.root.get_by_role("tab", name="lonely").click()
    expect(explorer.root).to_contain_text("Read them with obj.events()")


def test_keyboard_alone(notebook, show):
    explorer = show(HASH.format(n=5))
    page = notebook.page
    explorer.search.focus()
    while not explorer.grid.locator(":focus").count():  # bounded by the page: Tab comes round
        page.keyboard.press("Tab")
    expect(explorer.grid.locator("[tabindex='0']")).to_have_count(1)
    page.keyboard.press("Control+Home")
    first = explorer.rows.first
    expect(first.locator("td").first).to_be_focused()
    key = first.locator("td").first.text_content()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(explorer.grid.get_by_role("textbox")).to_be_focused()
    page.keyboard.type("12345")
    page.keyboard.press("Enter")
    expect(explorer.said).to_have_text(f"changed value of {key}")
    assert notebook.execute(f"m[{key}]") == "12345"
    expect(first.locator("td").nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(explorer.grid.get_by_role("button", name="value")).to_be_focused()
    page.keyboard.press("Enter")
    expect(explorer.grid.get_by_role("columnheader", name="value")).to_have_attribute("aria-sort", "descending")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Delete")
    expect(explorer.button("Delete")).to_be_focused()
    page.keyboard.press("Escape")
    expect(explorer.rows).to_have_count(3)
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(explorer.rows).to_have_count(2)
    assert notebook.execute(f"{key} in m") == "False"


LOOP = """
import time
end = time.monotonic() + 60
while {going} and time.monotonic() < end:
    m[0] += 1
    time.sleep(0.05)
print('the cell', 'is over')
"""


def test_it_lives_while_a_cell_runs(notebook, show):
    explorer = show(HASH.format(n=4))
    notebook.run(LOOP.format(going="m[1] != 99"), wait=False)
    for _ in range(3):
        expect(explorer.cell("0", "value")).not_to_have_text(explorer.cell("0", "value").text_content())
    explorer.change("1", "value", "99")  # the browser's change gets through while the cell runs, and ends it
    expect(explorer.said).to_have_text("changed value of 1")
    expect(notebook.page.get_by_text("the cell is over")).to_be_visible()


def test_it_lives_while_a_cell_runs_where_messages_wait(notebook, show):
    """Frontends without subshells: nothing that the browser asks for arrives before the cell ends."""
    switch = "mode => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.commsOverSubshells = mode }"
    notebook.page.evaluate(switch, "disabled")
    explorer = show(HASH.format(n=4))
    with explorer.refreshed():
        pass
    notebook.run(
        "w.seen = w._feed.views[str(m.id)].refreshes\n"
        + LOOP.format(going="w._feed.views[str(m.id)].refreshes < w.seen + 8"),
        wait=False,
    )
    for _ in range(3):
        expect(explorer.cell("0", "value")).not_to_have_text(explorer.cell("0", "value").text_content())
    expect(notebook.page.get_by_text("the cell is over")).to_be_visible()
    explorer.change("1", "value", "99")
    expect(explorer.said).to_have_text("changed value of 1")
    notebook.page.evaluate(switch, "perCommTarget")


def test_it_rests_when_paused_hidden_or_closed(notebook, show):
    explorer = show(HASH.format(n=4))
    with explorer.refreshed():
        pass
    explorer.button("Pause").click()
    expect(explorer.root.locator(".bx-pulse")).to_contain_text("paused")
    resting = "w._feed._wants == {}"
    wait = f"import time\nend = time.monotonic() + 30\nwhile not ({resting}) and time.monotonic() < end: time.sleep(0.05)\n{resting}"
    assert notebook.execute(wait) == "True"
    explorer.button("Resume").click()
    with explorer.refreshed():
        pass
    notebook.page.set_viewport_size({"width": 1200, "height": 300})
    notebook.run("1").scroll_into_view_if_needed()
    assert notebook.execute(wait) == "True"  # out of sight
    notebook.page.set_viewport_size({"width": 1200, "height": 900})
    explorer.root.scroll_into_view_if_needed()
    with explorer.refreshed():
        pass
    notebook.execute("t = w._feed.thread; w.close()")
    assert notebook.execute("t.join(30); t.is_alive()") == "False"


def test_it_says_when_the_map_is_closed(notebook, show):
    explorer = show("obj = lab.load(SOURCE, name='demo', pid=1)\nm = obj.maps['counts']")
    with explorer.refreshed():
        pass
    notebook.execute("obj.close()")
    expect(explorer.said).to_contain_text("map 'counts' was closed with its object")
    expect(explorer.root.locator(".bx-pulse")).to_contain_text("ended")
    assert notebook.execute("w._feed._wants") == "{}"


def test_two_views_of_one_widget(notebook, show):
    explorer = show(HASH.format(n=4))
    other = Explorer(notebook.run("w"))
    other.search.fill("key = 1")
    expect(other.rows).to_have_count(1)
    expect(explorer.rows).to_have_count(2)
    other.change("1", "value", "5")
    expect(explorer.cell("1", "value")).to_have_text("5")


def test_a_reload_of_the_page_finds_it_and_a_restart_of_the_kernel_shows(open_notebook, machine):
    notebook = open_notebook(
        f"import bpflab as bl\nlab = bl.Lab({machine!r}, quiet=True)\n" + HASH.format(n=4) + "bl.explore(m)"
    )
    Explorer(notebook.page.locator(".jp-OutputArea"))
    notebook.command("docmanager:save")
    notebook.page.reload()
    explorer = Explorer(notebook.page.locator(".jp-OutputArea"))
    notebook.execute("m[1] = 4711")
    expect(explorer.cell("1", "value")).to_have_text("4711")
    notebook.restart_kernel()
    expect(explorer.root.locator(".bx-pulse")).to_contain_text(
        re.compile(r"as read at \d\d:\d\d:\d\d: no kernel answers")
    )


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("width", [560, 1200])
def test_it_can_be_read_in_every_theme_and_width(notebook, show, theme, width):
    explorer = show(HASH.format(n=14))
    notebook.theme(theme)
    notebook.page.set_viewport_size({"width": width, "height": 900})
    notebook.execute("m[1] = 123456789; m[1000] = 777")
    expect(explorer.cell("1", "value")).to_have_text("123456789")
    poor = explorer.root.evaluate(CONTRAST)
    cut = explorer.root.evaluate(CUT)
    notebook.theme(LIGHT)
    notebook.page.set_viewport_size({"width": 1200, "height": 900})
    assert poor == []
    assert cut == []


# WCAG 2.1, 1.4.3: 4.5 to 1. Disabled controls are exempt; the ✕ at rest only repeats what the Delete key does.
CONTRAST = """root => {
  const parse = text => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
                          return [...canvas.getImageData(0, 0, 1, 1).data] };
  const back = element => { for (let e = element; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c } return [255, 255, 255] };
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                       return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const poor = [];
  for (const element of root.querySelectorAll('*')) {
    if (!element.checkVisibility() || element.matches(':disabled, .bx-x') || element.closest('.bx-hidden')) continue;
    if (![...element.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(back(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${element.className}: ${element.textContent.slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return poor }"""

# Text wider than its box, and controls that stick out of the explorer.
CUT = """root => {
  const cut = [], edge = root.getBoundingClientRect();
  for (const element of root.querySelectorAll('button, th .bx-label, td, h3, .bx-badge, label, .bx-fill, .bx-pulse')) {
    if (!element.checkVisibility()) continue;
    if (element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== 'inline') cut.push(element.outerHTML.slice(0, 80));
    if (!element.closest('.bx-scroll') && element.getBoundingClientRect().right > edge.right + 1) cut.push('out: ' + element.outerHTML.slice(0, 80));
  }
  return cut }"""
