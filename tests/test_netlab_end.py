"""A network at work, whose lab is killed: the kernel holds what it held before."""

from __future__ import annotations

import json
import os
import subprocess

import kernelstate
import pytest
from waiting import until

import bpflab as bl

PROGRAMS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
SEC("xdp") int ended_xdp(struct xdp_md *ctx) { return XDP_PASS; }
SEC("tc") int ended_tc(struct __sk_buff *skb) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""


def busy(lab: bl.Lab) -> None:
    """Everything that a network can do, at once and without an end."""
    net = lab.netlab("client -- router -- [sw] -- b1, b2", queues=2)
    obj = lab.load(PROGRAMS)
    obj.programs["ended_xdp"].attach_xdp(net["router"].dev, "native")
    obj.programs["ended_tc"].attach_tc(net["b1"].dev)
    net["b1"].sh(f"bpftool net attach xdpgeneric id {obj.programs['ended_xdp'].id} dev veth-sw; tc qdisc add dev veth-sw root tbf rate 1mbit burst 10k latency 1s || true")
    net["b1"].http_server()
    net["b2"].spawn("sleep 1000")
    net["client"].tcp_connect("b1", 80, count=3)
    net["router"].capture().__enter__()
    net.link("client", "router").lose(1)
    net.link("sw", "b2").cut()
    lab._jobs = [net["client"].start("udp_flood", "b1", packets=10**9, seconds=500, way=way, rate=5_000) for way in ("socket", "frames")]


def look() -> dict[str, set[str]]:
    """What can be seen of networks, beside what kernelstate sees."""
    interfaces = json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout)
    attached = json.loads(subprocess.run(["bpftool", "-j", "net", "list"], capture_output=True, check=True).stdout)
    return {
        "interface": {one["ifname"] for one in interfaces},
        "attached": {json.dumps(one) for one in attached},
        "namespace name": set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set(),
    }


def _programs(lab: bl.Lab) -> str:
    return lab.sh("bpftool prog list").stdout


@pytest.mark.here
@pytest.mark.parametrize("how", ["killed", "closed"])
def test_nothing_is_left(lab, fresh_lab, how):
    _programs(lab)  # its own watcher runs from here on
    before, links = kernelstate.take(), look()
    busy(fresh_lab)
    assert "ended_xdp" in _programs(lab) and "ended_tc" in _programs(lab)
    assert kernelstate.take()["namespace"] - before["namespace"]
    if how == "closed":
        fresh_lab.close()
    else:
        os.kill(fresh_lab._connection.about["pid"], 9)
        until(lambda: not fresh_lab.alive, "the lab's end")
    until(lambda: "ended_" not in _programs(lab), "the end of programs")
    assert kernelstate.left(before) == []
    assert look() == links


def test_closed_alone(lab):
    """The network ends, its lab goes on: no namespace, interface or program of it is there."""
    with lab.load(PROGRAMS) as obj:
        net = lab.netlab("x -- [s] -- y")
        obj.programs["ended_tc"].attach_tc(net["x"].dev)
        net.link("x", "s").lose(50)
        assert ("name lose" in _programs(lab)) == (net.link("x", "s").how == "tcx program")
        net.close()
        until(lambda: "name lose" not in _programs(lab), "the end of the losing program")
        assert not {"x", "s", "y"} & {line.split()[0] for line in lab.sh("ip netns list").lines if line}
    with pytest.raises(bl.BpfError, match="network of 'x', 's', 'y' is closed"):
        net.link("x", "s").restore()
