"""Traffic control as a tree: what tc and others set up is what is drawn."""

from __future__ import annotations

import itertools

import pytest

import bpflab as bl
from bpflab.netlab import tcpicture

PROGRAMS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
SEC("tc") int classify(struct __sk_buff *skb) { return 0; }
SEC("tc") int second(struct __sk_buff *skb) { return -1; }
char LICENSE[] SEC("license") = "GPL";
"""
HTB = """
tc qdisc add dev veth-b root handle 1: htb default 20
tc class add dev veth-b parent 1: classid 1:1 htb rate 100mbit
tc class add dev veth-b parent 1:1 classid 1:10 htb rate 10mbit
tc class add dev veth-b parent 1:1 classid 1:20 htb rate 90mbit
tc qdisc add dev veth-b parent 1:10 handle 10: pfifo limit 50
tc filter add dev veth-b parent 1: protocol ip pref 5 u32 match ip dport 80 0xffff match ip protocol 6 0xff classid 1:10
tc filter add dev veth-b parent 1: protocol ipv6 pref 6 bpf bytecode '1,6 0 0 4294967295' flowid 1:20
"""


@pytest.fixture
def net(lab):
    with lab.netlab("a -- b") as net:
        yield net


@pytest.fixture(scope="module")
def programs(lab):
    with lab.load(PROGRAMS) as obj:
        yield obj.programs


def below(tree) -> list[str]:
    return str(tree).splitlines()[1:]


def titles(tree) -> dict[str, list[str]]:
    return {node.title: [child.title for child in node.children] for node in tree}


def test_nothing_but_what_the_kernel_made(net):
    assert str(net["a"].tc()) == "veth-b, of a\n└─ qdisc noqueue 0:"


def test_qdiscs_classes_and_filters(net):
    net["a"].sh(HTB)
    assert below(net["a"].tc("b")) == [
        "└─ qdisc htb 1:, else to class 1:20",
        "   ├─ filter u32, pref 5, ip, 0050/ffff at 20, 060000/ff0000 at 8, to class 1:10",
        "   ├─ filter bpf, pref 6, ipv6, classic, 1 instructions, to class 1:20",
        "   └─ class htb 1:1, rate 100Mbit ceil 100Mbit",
        "      ├─ class htb 1:10, rate 10Mbit ceil 10Mbit",
        "      │  └─ qdisc pfifo 10:, limit 50p",
        "      └─ class htb 1:20, rate 90Mbit ceil 90Mbit",
    ]


def test_packets_are_those_that_went_through(net):
    net["a"].sh(HTB)
    with net["b"].http_server(80):
        assert net["a"].http_get("b").answered == 1
    before = net["a"].tc().to_frame().set_index("handle").packets
    net["a"].udp_flood("b", packets=7)
    after = net["a"].tc().to_frame().set_index("handle").packets
    assert before["1:10"] >= 3 and before["10:"] == before["1:10"]
    assert (after - before)[["1:", "1:10", "1:20", "10:"]].tolist() == [7, 0, 7, 0]


def test_clsact_and_tcx(net, programs):
    a, dev = net["a"], net["a"].dev
    with programs["classify"].attach_tc(dev), programs["second"].attach_tc(dev, "egress"):
        with (
            programs["second"].attach_tcx(dev),
            programs["classify"].attach_tcx(dev),
            programs["second"].attach_tcx(dev, "egress"),
        ):
            tree = a.tc()
        found = titles(tree)
        assert found["veth-b"] == ["tcx ingress", "tcx egress", "qdisc noqueue 0:", "qdisc clsact ffff:"]
        assert found["tcx ingress"] == ["program second", "program classify"], "in the order in which they run"
        assert found["tcx egress"] == ["program second"] and found["qdisc clsact ffff:"] == ["ingress", "egress"]
        assert [node.id for node in tree if node.kind == "program"] == [
            programs[n].id for n in ("second", "classify", "second", "classify", "second")
        ]
        assert "tcx ingress" not in titles(a.tc())
        assert below(a.tc())[1:4] == [
            "└─ qdisc clsact ffff:",
            "   ├─ ingress",
            "   │  └─ filter bpf, pref 49152, all protocols, direct action",
        ]
    assert titles(a.tc()).get("qdisc clsact ffff:", []) == [], "the filters are gone"


def test_an_ingress_qdisc(net):
    net["a"].sh(
        "tc qdisc add dev veth-b ingress; tc filter add dev veth-b parent ffff: pref 3 protocol ip u32 match u8 6 0xff at 9 flowid 1:1"
    )
    assert below(net["a"].tc())[1:] == [
        "└─ qdisc ingress ffff:",
        "   └─ ingress",
        "      └─ filter u32, pref 3, ip, 060000/ff0000 at 8, to class 1:1",
    ]


def test_queues_without_a_handle_of_their_own(lab):
    with lab.netlab("a", "b", queues=2) as net:
        net["a"].sh("tc qdisc add dev veth-b root handle 1: mq")
        assert titles(net["a"].tc())["qdisc mq 1:"] == ["class mq 1:1", "class mq 1:2"]
        assert titles(net["a"].tc())["class mq 1:2"] == ["qdisc pfifo_fast 0:"] == titles(net["a"].tc())["class mq 1:1"]


def test_the_frame(net, programs):
    with programs["classify"].attach_tc(net["a"].dev, "egress"):
        frame = net["a"].tc().to_frame()
    assert frame[["depth", "kind", "name", "parent"]].to_numpy().tolist() == [
        [0, "interface", "veth-b", ""],
        [1, "qdisc", "noqueue", "veth-b"],
        [1, "qdisc", "clsact", "veth-b"],
        [2, "direction", "egress", "qdisc clsact ffff:"],
        [3, "filter", "bpf", "egress"],
        [4, "program", "classify", "filter bpf"],
    ]
    assert frame.handle[4] == "0x1" and frame.id[5] == programs["classify"].id and frame.packets.isna().all()


def test_a_picture(net, programs):
    net["a"].sh(HTB)
    with programs["classify"].attach_tc(net["a"].dev), programs["second"].attach_tcx(net["a"].dev, "egress"):
        tree = net["a"].tc()
    boxes = tcpicture.layout(tree)
    assert {id(box.node) for box in boxes} == {id(node) for node in tree}
    for one, other in itertools.combinations(boxes, 2):
        apart = (
            one.x + one.width <= other.x
            or other.x + other.width <= one.x
            or one.y + one.height <= other.y
            or other.y + other.height <= one.y
        )
        assert apart, (one, other)
    page = tree._repr_html_()
    assert (
        page.count("data-tc=") == len(boxes) and page.count("bn-choice") == 2 + 1
    )  # two filters that choose a class, and the style
    assert f"id {programs['classify'].id}</text>" in page and "http" not in page.replace(
        "http://www.w3.org/2000/svg", ""
    )


def test_too_much_for_a_picture(net):
    lines = [
        f"filter add dev veth-b parent 1: protocol ip pref {n} u32 match ip dport {n} 0xffff classid 1:10"
        for n in range(10, 89)
    ]
    net["a"].sh(HTB + "tc -batch -", input="\n".join(lines))
    page = net["a"].tc()._repr_html_()
    assert "<svg" not in page and "a picture shows 60 at most" in page and page.count("filter u32") == 80


def test_no_such_interface(net):
    with pytest.raises(bl.UnknownNameError, match="no interface named 'c'"):
        net["a"].tc("c")
    with pytest.raises(bl.UnknownNameError, match="belong to that"):
        net["a"].tc(net["b"].dev)


def test_an_interface_that_is_gone(net):
    net["a"].sh("ip link del veth-b")
    with pytest.raises(bl.LabError, match="veth-b"):
        net["a"].tc()


def test_a_network_that_is_closed(lab):
    net = lab.netlab("a", "b")
    net.close()
    with pytest.raises(bl.BpfError, match="is closed"):
        net["a"].tc()
