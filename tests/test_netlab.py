"""Networks: hosts that reach each other, packets as on a wire, and nothing left of them."""

from __future__ import annotations

import struct

import pytest
from waiting import until

import bpflab as bl
from bpflab import netlab

COUNT = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
__u64 seen;
SEC("xdp") int count(struct xdp_md *ctx) { __sync_fetch_and_add(&seen, 1); return XDP_PASS; }
SEC("tc") int held(struct __sk_buff *skb) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def net(lab):
    with lab.netlab("a", "r", "s", "b") as net:
        yield net


def test_addresses_are_the_same_every_time(net):
    assert [dev.ip for host in map(net.__getitem__, net) for dev in host.devs.values()] == [
        *("10.0.1.1", "10.0.1.2", "10.0.2.1", "10.0.2.2", "10.0.3.1", "10.0.3.2"),
    ]
    a, s = net["a"], net["s"]
    assert (a.ip, a.ip6, a.mac) == ("10.0.1.1", "fd00:0:0:1::1", "02:00:00:00:01:01")
    assert (a.dev.name, list(s.devs)) == ("veth-r", ["r", "b"])
    assert s.dev == s.devs["r"]
    shown = s.sh("ip -o address show dev veth-b; ip -o link show dev veth-b").stdout
    assert s.devs["b"].ip in shown and s.devs["b"].ip6 in shown and s.devs["b"].mac in shown
    assert shown.startswith(f"{s.devs['b'].ifindex}: veth-b")


@pytest.mark.parametrize("sender", ["a", "b"])
@pytest.mark.parametrize("version", ["ip", "ip6"])
def test_ends_reach_each_other(net, sender, version):
    for other in set(net) - {sender}:
        for dev in net[other].devs.values():
            assert net[sender].ping(getattr(dev, version)).received == 1, dev


def test_ping_is_a_real_one(net):
    """Counted by the program that it passes, and not answered where nobody is."""
    done = net["a"].ping("b", count=3)
    assert (done.address, done.sent, done.received, len(done.rtt)) == ("10.0.3.2", 3, 3, 3)
    assert all(0 < ms < 1000 for ms in done.rtt)
    assert net["a"].ping("10.0.1.77", timeout=0.05) == ("10.0.1.77", 1, 0, [None])
    assert net["b"].ping(net["s"]).address == net["s"].devs["b"].ip
    assert net["a"].ping("127.0.0.1").received == 1
    with pytest.raises(bl.BpfError, match="cannot send to 192.0.2.1.*unreachable"):
        net["a"].ping("192.0.2.1")
    with pytest.raises(bl.UnknownNameError, match="no host named 'c'"):
        net["a"].ping("c")


def test_nobody_speaks_unasked(lab):
    """A program attached in the cell that made the network counts the packets of the reader, and no others."""
    with lab.load(COUNT) as obj, lab.netlab("p", "q") as net, obj.programs["count"].attach_xdp(net["q"].dev):
        for _ in range(3):
            assert net["p"].ping("q").received == 1
            assert net["p"].ping(net["q"].ip6).received == 1
        assert obj.globals["seen"] == 6
        reports = net["p"].sh("cat /proc/net/dev_snmp6/veth-q").stdout
        assert dict(line.split() for line in reports.splitlines())["Icmp6OutMLDv2Reports"] == "2"


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_packets_are_as_on_a_wire(net):
    """No frame is larger than the MTU allows, and every checksum is right where it arrives."""
    with (
        net["b"].socket("packet", "raw").bind(net["b"].dev) as tap,
        net["b"].socket().listen() as server,
        net["a"].socket().connect(server) as client,
        server.accept() as accepted,
    ):
        client.send(bytes(40_000))
        assert len(accepted.recv_exactly(40_000)) == 40_000
        carried = 0
        while carried < 40_000:
            frame = tap.recv()
            if frame[12:14] != b"\x08\x00" or frame[26:30] != bytes([10, 0, 1, 1]):
                continue
            packet = frame[14:][: struct.unpack_from("!H", frame, 16)[0]]
            segment = packet[20:]
            assert len(frame) <= 1514
            assert _checksum(packet[:20]) == 0
            assert _checksum(packet[12:20] + struct.pack("!HH", 6, len(segment)) + segment) == 0
            carried += len(segment) - (segment[12] >> 4) * 4


def test_commands_run_on_their_host(net):
    assert net["a"].sh("ip -o link | wc -l").stdout.strip() == "2"
    assert net["r"].sh("cat /proc/sys/net/ipv4/ip_forward").stdout.strip() == "1"
    assert net["a"].sh("cat /proc/sys/net/ipv4/ip_forward").stdout.strip() == "0"
    with net["b"].spawn("tcpdump -lni veth-s icmp") as capture:
        capture.wait_for("listening")
        net["a"].ping("b")
        capture.wait_for("10.0.1.1 > 10.0.3.2: ICMP echo request")


def test_two_labs_have_a_host_of_the_same_name(lab, machine):
    with bl.Lab(machine, quiet=True) as other, other.netlab("t", "u") as theirs, lab.netlab("t", "u") as ours:
        ours["t"].sh("ip link set dev lo alias ours")
        assert "ours" not in theirs["t"].sh("ip link show dev lo").stdout
        ours.close()
        assert theirs["t"].ping("u").received == 1


def test_a_cell_runs_twice(lab):
    first = lab.netlab("x", "y")
    listener = first["y"].socket().listen()
    second = lab.netlab("y", "z")
    assert first.closed and listener.closed
    assert second["y"].ping("z").received == 1
    with pytest.raises(bl.BpfError, match=r"network of 'x', 'y' is closed; make it again with lab.netlab"):
        first["x"].sh("true")
    with pytest.raises(bl.BpfError, match="is closed"):
        first["x"].ping("y")
    second.close()
    second.close()
    assert not {"x", "y", "z"} & {line.split()[0] for line in lab.sh("ip netns list").lines}


def test_close_ends_what_runs_there(lab):
    net = lab.netlab("k", "l")
    sleeper = net["k"].spawn("sleep 1000")
    net.close()
    assert sleeper.returncode == -15
    assert not lab.sh("ip -o link").stdout.count("veth-l")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "needs two hosts or more, not 0"),
        (("a",), "needs two hosts or more, not 1"),
        (("a", "a"), "'a' comes twice"),
        (("a", "elevenchars"), "too long: 11 characters, at most 10"),
        (("a", "b/c"), "letters? or digit"),
        (("a", "../x"), "letters? or digit"),
        (("a", ""), "letters? or digit"),
        (("a", "ü"), "letters? or digit"),
    ],
)
def test_names_that_cannot_be(lab, names, words):
    with pytest.raises(ValueError, match=words):
        lab.netlab(*names)


def test_names_that_are_none(lab, net):
    with pytest.raises(TypeError, match="a host's name is a text, not int"):
        lab.netlab("a", 1)
    with pytest.raises(bl.UnknownNameError, match="no host named 'q' in this network; there are: a, b, r, s"):
        net["q"]


def test_longest_name(lab):
    name = "l" * netlab.LONGEST
    with lab.netlab(name, "v") as net:
        assert net["v"].ping(name).received == 1


def test_shown_as_a_table(lab, net):
    lines = repr(net).splitlines()
    assert lines[0].split() == ["host", "interface", "to", "ip", "ip6", "mac"]
    assert lines[1].split() == ["a", "veth-r", "r", "10.0.1.1", "fd00:0:0:1::1", "02:00:00:00:01:01"]
    assert len(lines) == 7
    with lab.netlab("x", "y") as other:
        other.close()
        assert repr(other).endswith("(closed)")
        assert other._repr_html_().count("<tr>") == 3 and "closed" in other._repr_html_()


def test_gone_with_the_agent(lab, fresh_lab):
    """Nobody watches, the agent is killed: the kernel itself takes namespaces and interfaces away.

    A program that only a filter on such an interface holds tells when that has happened.
    """
    net = fresh_lab.netlab("a", "b")
    program = fresh_lab.load(COUNT).programs["held"]
    program.attach_tc(net["a"].dev)
    pid = fresh_lab._connection.about["pid"]
    assert lab.sh(f"cat /proc/{pid}/task/*/children").stdout.split() == []
    assert lab.sh(f"bpftool prog show id {program.id}").stdout
    lab.sh(f"kill -9 {pid}")
    until(lambda: lab.sh(f"bpftool prog show id {program.id}", check=False).returncode, "the interface goes")
    with pytest.raises(bl.MachineLost):
        net["a"].ping("b")
    net.close()
