"""The control-flow graph in a real JupyterLab: drawn, clicked, in both themes, and in a notebook without widgets."""

import contrast
import pytest
from lab_page import DARK, LIGHT
from playwright.sync_api import expect

SETUP = """import bpflab as bl
lab = bl.Lab({machine!r})
obj = lab.load('''
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
SEC("tc") int f(struct __sk_buff *skb)
{{
    volatile int sum = 0;
    for (int i = 0; i < 100; i++) {{
        if (skb->mark == i)
            break;
        sum += i;
    }}
    if (sum > 1000)
        return 2;
    return 0;
}}
char LICENSE[] SEC("license") = "GPL";
''')"""

# a path's two ends lie on the edges of the blocks that it joins
ENDS = """root => [...root.querySelectorAll('svg > .bc-edge')].map(edge => {
  const path = edge.querySelector('path'), blocks = [...root.querySelectorAll('.bc-block rect')].map(r => r.getBBox());
  const a = path.getPointAtLength(0), b = path.getPointAtLength(path.getTotalLength());
  const from = blocks[edge.dataset.from], to = blocks[edge.dataset.to];
  return Math.abs(a.y - from.y - from.height) < 2 && a.x >= from.x && a.x <= from.x + from.width &&
         Math.abs(b.y - to.y) < 2 && b.x >= to.x && b.x <= to.x + to.width })"""

# text that sticks out of its block
OUT = """root => [...root.querySelectorAll('.bc-block')].flatMap(block => {
  const box = block.querySelector('rect').getBBox();
  return [...block.querySelectorAll('text')].filter(t => t.getBBox().x + t.getBBox().width > box.x + box.width + 1).map(t => t.textContent) })"""


@pytest.fixture(scope="module")
def notebook(open_notebook, machine):
    notebook = open_notebook(SETUP.format(machine=machine), width=1200)
    notebook.page.get_by_text("lab on").wait_for()
    return notebook


@pytest.fixture
def graph(notebook):
    root = notebook.run("g = obj.programs['f'].cfg()\ng").locator(".bpflab-cfg")
    root.wait_for()
    yield root
    notebook.delete_cells()
    assert notebook.errors == []
    assert notebook.outside == []


def test_it_is_drawn(notebook, graph):
    counts = notebook.execute("print(len(g.blocks), sum(len(b.next) for b in g.blocks))").split()
    expect(graph.locator(".bc-block")).to_have_count(int(counts[0]))
    expect(graph.locator("svg > .bc-edge")).to_have_count(int(counts[1]))
    expect(graph.locator("text", has_text="if (skb->mark == i)").first).to_be_visible()
    for mode in ("Instructions", "Source"):
        graph.get_by_role("button", name=mode, exact=True).click()
        assert all(graph.evaluate(ENDS))
        assert graph.evaluate(OUT) == []
    # the loop goes back up
    assert graph.evaluate("root => [...root.querySelectorAll('svg > .bc-edge')].some(e => { const b = root.querySelectorAll('.bc-block rect'); return b[e.dataset.to].getBBox().y <= b[e.dataset.from].getBBox().y })")


def test_a_click_shows_the_block(notebook, graph):
    block = graph.locator(".bc-block", has_text="sum > 1000").first
    block.click()
    expect(block).to_have_attribute("aria-pressed", "true")
    detail = graph.get_by_role("list", name="instructions of the block")
    expect(detail).to_contain_text("if (sum > 1000)")
    start = int(block.get_attribute("data-start"))
    expect(detail.locator(".bm-n").first).to_have_text(str(start))
    assert graph.locator(".bc-edge.bc-on").count() >= 2
    block.press("Enter")
    expect(block).to_have_attribute("aria-pressed", "false")
    expect(detail).to_be_hidden()


def test_instructions_and_size(notebook, graph):
    assert graph.locator(".bc-insn").count() == 0
    graph.get_by_role("button", name="Instructions", exact=True).click()
    expect(graph.locator(".bc-insn", has_text="exit").first).to_be_visible()
    before = graph.locator("svg").bounding_box()["height"]
    graph.get_by_role("button", name="Fit", exact=True).click()
    after = graph.locator("svg").bounding_box()
    assert after["height"] <= min(before, 640)
    assert after["width"] <= graph.bounding_box()["width"]


def test_it_is_readable_in_both_themes(notebook, graph):
    graph.get_by_role("button", name="Instructions", exact=True).click()
    graph.locator(".bc-block").first.click()
    contrast.check(notebook, graph, (LIGHT, DARK))


def test_the_saved_picture(notebook, graph):
    """What a reader sees who runs no widgets: the picture, in the output of the cell."""
    notebook.execute("from IPython.display import SVG; picture = SVG(g.svg)")
    output = notebook.run("picture")
    picture = output.get_by_role("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("e => e.naturalWidth ?? e.clientWidth") > 200
