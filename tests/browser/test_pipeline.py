"""The pipeline view in a real JupyterLab: a click on a line, and what it became lights up."""

import contrast
import pytest
from lab_page import DARK, LIGHT
from playwright.sync_api import expect
from waiting import until

SOURCE = """#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 8); } seen SEC(".maps");
SEC("tc") int first(struct __sk_buff *skb)
{
    __u32 key = skb->len;
    __u64 *times = bpf_map_lookup_elem(&seen, &key);
    if (times)
        *times += 1;
    return 0;
}
SEC("xdp") int second(struct xdp_md *ctx)
{
    return 2;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def notebook(open_notebook, machine):
    notebook = open_notebook(f"import bpflab as bl\nlab = bl.Lab({machine!r})\nSOURCE = {SOURCE!r}", width=1400)
    notebook.page.get_by_text("lab on").wait_for()
    return notebook


@pytest.fixture
def show(notebook):
    def show_one(code):
        root = notebook.run(f"p = {code}\np").locator(".bpflab-pipeline")
        root.wait_for()
        return root

    yield show_one
    notebook.delete_cells()
    assert notebook.errors == []
    assert notebook.outside == []


def pane(root, title):
    return root.locator(f'[data-stage="{title}"]')


def lit(root, title):
    return pane(root, title).locator("li.bm-lit")


def test_a_line_and_what_it_became(notebook, show):
    root = show("bl.pipeline(SOURCE)")
    assert root.locator(".bp-pane h4").all_inner_texts() == ["source", "bytecode", "verifier", "xlated", "JIT", "hook", "maps"]
    pane(root, "source").locator("li", has_text="*times += 1;").click(position={"x": 60, "y": 8})
    expect(root.get_by_role("status")).to_contain_text("line 9: 3 in bytecode")
    assert any("+= 1" in text for text in lit(root, "bytecode").all_inner_texts())
    assert any("+= 1" in text for text in lit(root, "verifier").all_inner_texts())
    assert any("+= 1" in text for text in lit(root, "xlated").all_inner_texts())
    expect(lit(root, "maps")).to_have_count(0)
    # from a later stage back to the source, with the keyboard
    row = pane(root, "xlated").locator("li", has_text="map seen")
    row.focus()
    row.press("Enter")
    expect(lit(root, "source")).to_have_count(1)
    assert "bpf_map_lookup_elem(&seen" in lit(root, "source").inner_text()
    expect(lit(root, "maps")).to_have_count(1)
    until(lambda: notebook.execute("print(p.line)").strip() == "7", "the kernel knows of the line")
    # what is lit is in sight in its pane
    assert lit(root, "verifier").first.evaluate("e => { const a = e.getBoundingClientRect(), b = e.closest('.bm-scroll').getBoundingClientRect(); return a.top >= b.top && a.bottom <= b.bottom }")
    row.press("Enter")
    expect(root.locator("li.bm-lit")).to_have_count(0)


def test_a_line_that_is_lit_from_the_start_is_in_sight(notebook, show):
    root = show("bl.pipeline(SOURCE)\np.line = 9")
    inside = "e => { const a = e.getBoundingClientRect(), b = e.closest('.bm-scroll').getBoundingClientRect(); return b.height > 0 && a.top >= b.top && a.bottom <= b.bottom }"
    expect(lit(root, "verifier").first).to_be_visible()
    notebook.page.wait_for_function(f"e => ({inside})(e)", arg=lit(root, "verifier").first.element_handle())


def test_machine_code_or_why_not(notebook, show):
    root = show("bl.pipeline(SOURCE)")
    given = notebook.execute("print(bool(lab.ask('insns.dump', lab.load(SOURCE).programs['first'].fd)['jited']))").strip() == "True"
    notebook.execute("p.line = 9")
    if given:
        expect(lit(root, "JIT").first).to_be_visible()
    else:
        expect(pane(root, "JIT").locator(".bm-note")).to_contain_text("kernel")


def test_another_program_of_the_object(notebook, show):
    root = show("bl.pipeline(SOURCE)")
    root.get_by_role("combobox", name="program").select_option("second")
    expect(pane(root, "bytecode").locator("li")).to_have_count(2)
    expect(pane(root, "hook")).to_contain_text('SEC("xdp")')
    expect(pane(root, "maps")).to_contain_text("it uses none")
    pane(root, "source").locator("li", has_text="return 2;").click(position={"x": 60, "y": 8})
    expect(lit(root, "bytecode").first).to_be_visible()
    # a line that this program was not made from is no button
    assert pane(root, "source").locator("li", has_text="*times += 1;").get_attribute("role") is None


def test_a_program_that_is_refused(notebook, show):
    root = show("bl.pipeline(SOURCE.replace('    if (times)\\n', ''))")
    expect(root.locator(".bp-refused")).to_contain_text("map_value_or_null")
    expect(pane(root, "verifier").locator(".bm-note")).to_contain_text("refused")
    expect(pane(root, "xlated")).to_contain_text("not there")
    pane(root, "source").locator("li", has_text="*times += 1;").click(position={"x": 60, "y": 8})
    expect(lit(root, "verifier").first).to_be_visible()


def test_it_is_readable_in_both_themes(notebook, show):
    root = show("bl.pipeline(SOURCE)")
    notebook.execute("p.line = 7")
    expect(lit(root, "maps")).to_have_count(1)
    contrast.check(notebook, root, (LIGHT, DARK))
    assert root.evaluate("e => e.scrollWidth <= e.clientWidth + 1")  # the panes scroll, not the page
