"""A network in a real JupyterLab: drawn, drawn anew as things attach (while a cell runs, too), in both themes."""

import contrast
import pytest
from lab_page import DARK, LIGHT
from playwright.sync_api import expect

SETUP = """import bpflab as bl
lab = bl.Lab({machine!r})
net = lab.netlab("client -- router -- [sw] -- b1, b2")
obj = lab.load('''
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
SEC("xdp") int guard(struct xdp_md *ctx) {{ return XDP_PASS; }}
char LICENSE[] SEC("license") = "GPL";
''')"""

# text that sticks out of its box
OUT = """root => [...root.querySelectorAll('g[data-host]')].flatMap(host => {
  const box = host.querySelector('rect').getBBox();
  return [...host.querySelectorAll('text')].filter(t => t.getBBox().x + t.getBBox().width > box.x + box.width + 1).map(t => t.textContent) })"""


@pytest.fixture(scope="module")
def notebook(open_notebook, machine):
    notebook = open_notebook(SETUP.format(machine=machine), width=1200)
    notebook.page.get_by_text("lab on").wait_for()
    return notebook


@pytest.fixture(autouse=True)
def clean(notebook):
    yield
    notebook.delete_cells()
    assert notebook.errors == []
    assert notebook.outside == []


def test_it_is_drawn(notebook):
    root = notebook.run("net").locator(".bpflab-net")
    root.wait_for()
    assert root.locator("g[data-host]").count() == 5 and root.locator(".bn-wire").count() == 4
    assert root.evaluate(OUT) == []
    expect(root.get_by_text("10.0.2.3/24")).to_be_visible()


def test_it_follows(notebook):
    root = notebook.run("v = net.show(live=True)\nv").locator("section.bpflab-net")
    root.wait_for()
    assert root.get_by_text("XDP").count() == 0
    notebook.execute("link = obj.programs['guard'].attach_xdp(net['router'].dev)")
    expect(root.get_by_text("XDP native: guard")).to_be_visible()
    notebook.execute("net.link('sw', 'b1').cut()")
    expect(root.locator(".bn-cut")).to_have_count(1)
    notebook.execute("net.link('sw', 'b1').restore(); link.detach()")
    expect(root.get_by_text("XDP")).to_have_count(0)
    expect(root.locator(".bn-cut")).to_have_count(0)


def test_it_follows_while_a_cell_runs(notebook):
    root = notebook.run("v = net.show(live=True)\nv").locator("section.bpflab-net")
    root.wait_for()
    notebook.run("with obj.programs['guard'].attach_xdp(net['b2'].dev):\n    net['client'].ping('10.0.1.77', count=4, timeout=1)")
    expect(root.get_by_text("XDP native: guard")).to_be_visible()
    expect(root.get_by_text("XDP native: guard")).to_have_count(0)


def test_it_ends_with_the_network(notebook):
    notebook.execute("other = lab.netlab('x', 'y')")
    root = notebook.run("v = other.show(live=True)\nv").locator("section.bpflab-net")
    root.wait_for()
    notebook.execute("other.close()")
    expect(root.get_by_text("is closed")).to_be_visible()


def test_it_can_be_read(notebook):
    notebook.execute("link = obj.programs['guard'].attach_xdp(net['router'].dev)")
    root = notebook.run("net.show()").locator("section.bpflab-net")
    root.wait_for()
    contrast.check(notebook, root, (LIGHT, DARK))
    notebook.execute("link.detach()")
