"""Traffic control as a tree in a real JupyterLab: every box drawn, no text out of its box, readable in both themes."""

import contrast
import pytest
from lab_page import DARK, LIGHT

SETUP = """import bpflab as bl
lab = bl.Lab({machine!r})
net = lab.netlab("a -- b")
obj = lab.load('''
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
SEC("tc") int look_at_it(struct __sk_buff *skb) {{ return -1; }}
char LICENSE[] SEC("license") = "GPL";
''')
net["a"].sh('''
tc qdisc add dev veth-b root handle 1: htb default 20
tc class add dev veth-b parent 1: classid 1:1 htb rate 10mbit
tc class add dev veth-b parent 1:1 classid 1:10 htb rate 1mbit ceil 10mbit
tc class add dev veth-b parent 1:1 classid 1:20 htb rate 9mbit ceil 10mbit
tc filter add dev veth-b parent 1: protocol ip pref 5 u32 match ip dport 80 0xffff classid 1:10
''')
link = obj.programs["look_at_it"].attach_tc(net["a"].dev)"""

# text that sticks out of its box
OUT = """root => [...root.querySelectorAll('g[data-tc]')].flatMap(group => {
  const box = group.querySelector('rect').getBBox();
  return [...group.querySelectorAll('text')].filter(t => t.getBBox().x + t.getBBox().width > box.x + box.width + 1).map(t => t.textContent) })"""


@pytest.fixture(scope="module")
def tree(open_notebook, machine):
    notebook = open_notebook(SETUP.format(machine=machine), width=1200)
    notebook.page.get_by_text("lab on").wait_for()
    root = notebook.run('net["a"].tc()').locator(".bpflab-net")
    root.wait_for()
    yield notebook, root
    assert notebook.errors == []
    assert notebook.outside == []


def test_it_is_drawn(tree):
    _, root = tree
    titles = root.locator("g[data-tc]").evaluate_all("boxes => boxes.map(box => box.dataset.tc)")
    assert titles == [
        *("veth-b", "qdisc htb 1:", "filter u32", "class htb 1:1", "class htb 1:10", "class htb 1:20"),
        *("qdisc clsact ffff:", "ingress", "filter bpf", "program look_at_it"),
    ]
    assert root.locator(".bn-choice").count() == 1
    assert root.evaluate(OUT) == []


def test_it_can_be_read(tree):
    contrast.check(*tree, (LIGHT, DARK))
