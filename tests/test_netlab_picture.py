"""The wires, and what is attached where, as the kernel tells it; the picture of both."""

from __future__ import annotations

import re

import pytest

import bpflab as bl

PROGRAMS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
SEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }
SEC("tc") int classify(struct __sk_buff *skb) { return 0; }
SEC("cgroup/connect4") int connect(struct bpf_sock_addr *ctx) { return 1; }
SEC("sk_lookup") int look(struct bpf_sk_lookup *ctx) { return 1; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def net(lab):
    with lab.netlab("client -- router -- [sw] -- b1, b2") as net:
        yield net


@pytest.fixture(scope="module")
def programs(lab):
    with lab.load(PROGRAMS) as obj:
        yield obj.programs


def places(net) -> list[tuple]:
    return [tuple(row)[:5] for row in net.attached().itertuples(index=False)]


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_xdp(net, programs, mode):
    with programs["pass"].attach_xdp(net["router"].devs["sw"], mode):
        assert places(net) == [("router", "veth-sw", "XDP", mode, "pass")]
        assert net.attached().id[0] == programs["pass"].id
        assert f"XDP {mode}: pass" in net._repr_html_()
    assert places(net) == [] and "XDP" not in net._repr_html_()


@pytest.mark.needs("tcx")
def test_tcx(net, programs):
    with programs["classify"].attach_tcx(net["b1"].dev, "egress"), programs["classify"].attach_tcx(net["sw"].devs["b1"]):
        assert places(net) == [("sw", "veth-b1", "tcx ingress", "", "classify"), ("b1", "veth-sw", "tcx egress", "", "classify")]


def test_tc_cgroup_and_namespace(lab, net, programs):
    cgroup = lab.cgroup("drawn")
    with (
        programs["classify"].attach_tc(net["client"].dev),
        programs["look"].attach_netns(net["b2"]),
        programs["connect"].attach_cgroup(cgroup),
    ):
        assert places(net) == [
            ("client", "veth-router", "tc ingress", "", "classify"),
            ("b2", "network namespace", "sk_lookup", "", "look"),
            ("", "cgroup drawn", "connect4", "", "connect"),
        ]
    cgroup.close()


def test_what_others_attached(net, programs):
    """The kernel is asked, not our books: bpftool, tc and ip attach as well as we do."""
    net["b1"].sh(f"bpftool net attach xdpgeneric id {programs['pass'].id} dev veth-sw; ip address add 192.0.2.9/32 dev veth-sw")
    net["b2"].sh("tc qdisc add dev veth-sw root tbf rate 1mbit burst 10k latency 1s", check=False)
    try:
        assert ("b1", "veth-sw", "XDP", "generic", "pass") in places(net)
        assert "192.0.2.9/32" in net._repr_html_()
        assert (("b2", "veth-sw", "qdisc", "", "tbf") in places(net)) == ("tbf" in net["b2"].sh("tc qdisc show").stdout)
    finally:
        net["b1"].sh("bpftool net detach xdpgeneric dev veth-sw; ip address del 192.0.2.9/32 dev veth-sw")
        net["b2"].sh("tc qdisc del dev veth-sw root", check=False)


def test_sockets(net):
    with net["b1"].http_server(8081), net["b2"].udp_server(5353), net["client"].capture("router"):
        page = net._repr_html_()
        assert "tcp port 8081" in page and "udp port 5353" in page and "packet socket on veth-router" in page
    assert "port 8081" not in net._repr_html_()


def test_a_picture(net):
    page = net._repr_html_()
    assert re.findall(r'data-host="(\w+)"', page) == ["client", "router", "sw", "b1", "b2"]
    assert page.count('class="bn-wire bn-whole"') == 4 and "10.0.2.3/24" in page and "fd00:0:0:1::1/64" in page
    assert not re.search(r'https?://(?!www\.w3\.org/2000/svg)|src=', page)


def test_cut_and_mended(net):
    wire = net.link("client", "router")
    assert net.link("router", "client") is wire and wire.state == "whole"
    before = net["router"].sh("ip address; ip route; ip -6 route; ip neighbour; ip -6 neighbour").stdout
    wire.cut()
    assert wire.state == "cut" and net["client"].ping("b1", timeout=0.1).received == 0
    assert "NO-CARRIER" in net["client"].sh("ip link show veth-router").stdout
    assert net._repr_html_().count('class="bn-wire bn-cut"') == 1 and "(no carrier)" in net._repr_html_()
    wire.cut()
    wire.restore()
    for target in (net["b1"].ip, net["b1"].ip6):
        assert net["client"].ping(target).received == 1
    assert net["b2"].ping(net["client"].ip6).received == 1
    assert sorted(net["router"].sh("ip address; ip route; ip -6 route; ip neighbour; ip -6 neighbour").lines) == sorted(before.splitlines())


def test_a_port_of_a_switch(net):
    wire = net.link("b1", "sw")
    wire.cut()
    assert "NO-CARRIER" in net["b1"].sh("ip link show veth-sw").stdout
    assert net["b2"].ping("b1", timeout=0.1).received == 0 and net["b2"].ping("client").received == 1
    wire.restore()
    assert net["b2"].ping("b1").received == 1


def test_loss(net):
    wire = net.link("client", "router")
    wire.lose(100)
    assert net["client"].ping("router", count=5, timeout=0.02).received == 0
    wire.lose(50)
    # of 200 each has to pass twice: a share of 1/4; 20 and 90 are more than 5 sigma away
    assert 20 < net["client"].ping("router", count=200, timeout=0.01).received < 90
    assert wire.state in ("loss 50 % (tcx program)", "loss 50 % (netem)") and 'class="bn-wire bn-hurt"' in net._repr_html_()
    wire.restore()
    assert net["client"].ping("router", count=50).lost == 0 and wire.state == "whole" and places(net) == []


@pytest.mark.needs("netem")
def test_delay(net):
    """A kernel that has netem delays; one that has not says so, and what to do."""
    wire = net.link("client", "router")
    try:
        wire.delay(30)
    except bl.NotSupportedError:
        assert wire.state == "whole"
        assert net["client"].sh("tc qdisc add dev veth-router root netem delay 30ms", check=False).returncode
        raise
    assert net["client"].ping("router").rtt[0] >= 60
    wire.restore()
    assert "netem" not in net["client"].sh("tc qdisc show").stdout


@pytest.mark.parametrize(("do", "words"), [(lambda w: w.lose(101), "0 to 100 percent"), (lambda w: w.delay(-1), "0 to 10,000 ms")])
def test_what_a_wire_cannot(net, do, words):
    with pytest.raises(ValueError, match=words):
        do(net.link("client", "router"))


def test_no_such_wire(net):
    with pytest.raises(bl.UnknownNameError, match="no neighbour named 'b1' in the wires of 'client'; there are: router"):
        net.link("client", "b1")


def test_a_peer_that_is_down(net, programs):
    """XDP attaches, nothing arrives, and everything says why."""
    net["b1"].sh("ip link set veth-sw down")
    try:
        with programs["pass"].attach_xdp(net["b1"].dev):
            assert net["b2"].ping("b1", timeout=0.05).received == 0
            assert "veth-sw (down)" in net._repr_html_()
        with pytest.raises(bl.BpfError, match="host 'b1' cannot send"):
            net["b1"].ping("b2")
    finally:
        net["b1"].sh("ip link set veth-sw up")
