"""The browser of what can be traced in a real JupyterLab: typing, kinds, keys, formats, cells to paste."""

import contrast
import pytest
from lab_page import DARK, LIGHT
from playwright.sync_api import expect
from waiting import until

SETUP = """import bpflab as bl
lab = bl.Lab({machine!r})
web = lab.workload('web')"""


@pytest.fixture(scope="module")
def notebook(open_notebook, machine):
    notebook = open_notebook(SETUP.format(machine=machine), width=1300)
    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    notebook.page.get_by_text("lab on").wait_for()
    yield notebook
    notebook.execute("lab.close()")


@pytest.fixture
def show(notebook):
    def show_one(code="bl.browse(lab)"):
        return Browser(notebook.run(f"b = {code}\nb"))

    yield show_one
    notebook.delete_cells()
    assert notebook.errors == []
    assert notebook.outside == []


class Browser:
    """What a reader sees and does."""

    def __init__(self, output):
        self.root = output.locator(".bpflab-browser")
        self.root.wait_for()
        self.input = self.root.get_by_role("combobox")
        self.total = self.root.get_by_role("status")
        self.rows = self.root.get_by_role("option")
        self.detail = self.root.locator(".bb-detail")

    def shown(self, name):
        expect(self.root).to_have_attribute("data-shown", name)

    def kind(self, kind):
        return self.root.get_by_role("button", name=kind)

    def cell(self, title):
        return self.detail.get_by_label(title, exact=True)


def test_type_and_see_the_format(notebook, show):
    browser = show()
    every = int(browser.total.inner_text().split()[0].replace(",", ""))
    assert every == int(notebook.execute("print(len(lab.events()))"))
    browser.input.press_sequentially("openat")
    names = notebook.execute("print(*lab.events('openat').name, sep=',')").strip().split(",")
    expect(browser.total).to_have_text(f"{len(names)} places")
    assert [row.split("\n")[1] for row in browser.rows.all_inner_texts()] == names
    browser.input.fill("syscalls:sys_enter_openat")
    browser.shown("sys_enter_openat")
    fields = browser.detail.locator("tbody tr").all_inner_texts()
    assert "const char *\tfilename\t24\t8" in fields
    assert browser.cell("1. the program").inner_text().startswith("%%bpf openat_events\n")
    assert browser.root.locator("mark").first.inner_text() == "sys_enter_openat"


def test_the_cells_are_copied_and_run(notebook, show):
    browser = show("bl.browse(lab, 'sys_enter_getppid')")
    browser.shown("sys_enter_getppid")
    texts = []
    for title in ("the program", "attach and read"):
        browser.detail.get_by_role("button", name=f"copy {title}").click()
        expect(browser.detail.get_by_role("button", name=f"copy {title}")).to_have_text("Copied")
        texts.append(notebook.page.evaluate("() => navigator.clipboard.readText()"))
    assert texts == notebook.execute("print('\\0'.join(b.recipe), end='')").split("\0")
    notebook.execute("job = lab.spawn('''python3 -c 'import os\nwhile True: os.getppid()' ''')")
    notebook.run(texts[0])
    output = notebook.run(texts[1])
    expect(output).to_contain_text("lost: ")
    notebook.execute("job.stop()")
    assert notebook.execute("print(set(frame.comm) >= {'python3'}, len(frame) > 100)").strip() == "True True"


def test_signatures_of_functions(notebook, show, machine):
    browser = show("bl.browse(lab, 'vfs_read')")
    browser.kind("tracepoints").click()
    browser.shown("vfs_read")
    expect(browser.detail.locator(".bb-signature")).to_contain_text("ssize_t vfs_read(")
    expect(browser.detail.locator(".bb-signature")).to_contain_text("loff_t *pos)")
    lacks = notebook.execute("print(lab.missing('kprobe') or '')").strip()
    expect(browser.detail.locator(".bb-bad")).to_have_count(1 if lacks else 0)


def test_kinds_are_filters(notebook, show):
    browser = show("bl.browse(lab, 'clock')")
    assert {"tp", "fn", "perf"} <= {row.split("\n")[0] for row in browser.rows.all_inner_texts()}
    browser.kind("kernel functions").click()
    assert "fn" not in {row.split("\n")[0] for row in browser.rows.all_inner_texts()}
    browser.kind("perf events").click(modifiers=["Shift"])
    assert [row.split("\n")[1:] for row in browser.rows.all_inner_texts()] == [["cpu-clock", "software"], ["task-clock", "software"]]
    browser.shown("cpu-clock")
    expect(browser.cell("2. attach and read")).to_contain_text('attach_perf_event("cpu-clock", frequency=99)')


def test_keys(notebook, show):
    browser = show("bl.browse(lab, 'sys_enter_open')")
    browser.input.focus()
    browser.shown("sys_enter_open")
    browser.input.press("ArrowDown")
    browser.shown("sys_enter_openat")
    until(lambda: notebook.execute("print(b.selected.name)").strip() == "sys_enter_openat", "the kernel knows of the choice")
    browser.input.press("Enter")
    expect(browser.detail.get_by_role("button", name="copy the program")).to_be_focused()
    browser.input.press("Escape")
    expect(browser.input).to_have_value("")
    assert browser.rows.count() == 200
    browser.input.press("ArrowUp")
    expect(browser.rows.first).to_have_attribute("aria-selected", "true")
    browser.root.get_by_role("button", name="200 more").click()
    assert browser.rows.count() == 400


def test_a_wrong_name_offers_near_ones(notebook, show):
    browser = show("bl.browse(lab, 'sys_enter_opneat')")
    browser.root.get_by_role("button", name="sys_enter_openat", exact=True).click()
    expect(browser.input).to_have_value("sys_enter_openat")
    browser.shown("sys_enter_openat")


def test_a_binary(notebook, show):
    browser = show("bl.browse(lab, pid=web.pid)")
    browser.input.fill("request")
    browser.shown("web:request__done")
    assert sorted(row.split("\n")[1] for row in browser.rows.all_inner_texts()) == ["handle_request", "web:request__done", "web:request__start"]
    expect(browser.detail.locator(".bb-signature")).to_have_text("8-byte unsigned, 4-byte signed, 8-byte unsigned, 4-byte signed")
    expect(browser.cell("2. attach and read")).to_contain_text('"web", "request__done")')


def test_it_searches_while_a_cell_runs(notebook, show):
    """The names are in the page: a busy kernel keeps nobody from searching them."""
    browser = show()
    notebook.run("import time; time.sleep(3)", wait=False)
    browser.input.fill("sched_switch")
    expect(browser.rows.first).to_contain_text("sched_switch")
    assert float(browser.root.get_attribute("data-took")) < 200
    browser.shown("sched_switch")


def test_the_page_finds_what_python_finds(notebook, show):
    """The same rules on both sides."""
    browser = show()
    for text in ("vfs", "sys_enter_*at", "syscalls:*exit_r?ad", "tcp recv", "*_switch", "a", "x.y*"):
        browser.input.fill(text)
        count = int(notebook.execute(f"print(len(lab.events({text!r})))"))
        expect(browser.total).to_have_text("1 place" if count == 1 else f"{count:,} places")
        if 0 < count < 200:
            names = notebook.execute(f"print(*sorted(lab.events({text!r}).name), sep=',')").strip().split(",")
            assert sorted(row.split("\n")[1] for row in browser.rows.all_inner_texts()) == names


def test_it_is_readable_in_both_themes(notebook, show):
    for text in ("sys_enter_openat", "vfs_read", "zzzzzz"):
        browser = show(f"bl.browse(lab, {text!r})")
        if text != "zzzzzz":
            browser.shown(text)
        contrast.check(notebook, browser.root, (LIGHT, DARK))
    notebook.page.set_viewport_size({"width": 620, "height": 900})
    assert browser.root.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    notebook.page.set_viewport_size({"width": 1300, "height": 900})
