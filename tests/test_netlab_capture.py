"""Captures against what was really sent, and against tcpdump."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

import bpflab as bl
from bpflab.netlab import capture


@pytest.fixture(scope="module")
def net(lab):
    with lab.netlab("a", "r", "b") as net:
        yield net


def test_both_directions(net):
    with net["b"].capture() as seen:
        net["a"].ping("b", count=3)
        net["a"].ping(net["b"].ip6)
    frame = seen.to_frame()
    assert list(frame.summary) == ["echo request", "echo reply"] * 4
    assert list(frame.direction) == ["in", "out"] * 4 and set(frame.interface) == {"veth-r"}
    assert list(frame.protocol) == ["ICMP"] * 6 + ["ICMPv6"] * 2
    assert list(frame.source[:2]) == [net["a"].ip, net["b"].ip] and frame.source[6] == net["a"].ip6
    assert frame.time.is_monotonic_increasing and 0 <= frame.time[0] < 5
    assert seen[0]["IPv4 TTL"].value == 63 and seen[-1].data == seen.packets[-1] and len(seen) == 8 and seen.lost == 0
    assert "8 packets" in repr(seen)
    assert "<th>summary</th>" in seen._repr_html_() and "<th>vlan</th>" not in seen._repr_html_()  # there is none


def test_times_count_from_the_beginning(net):
    for _ in range(3):  # at several places of a second
        begin = time.monotonic()
        with net["b"].capture() as seen:
            net["a"].ping("b", count=2, interval=0.15)
        took = time.monotonic() - begin
        times = seen.to_frame().time
        assert 0 <= times[0] and times[0] + 0.15 <= times[2] <= took


def test_a_hosts_talk_with_itself(net):
    with net["a"].capture() as every, net["a"].capture("lo") as own, net["a"].capture("r") as wire:
        net["a"].ping("127.0.0.1")
        assert own.wait(4) == 4  # each is seen going out and coming in
    for seen in (every, own):
        assert set(seen.to_frame().interface) == {"lo"} and list(seen.to_frame().summary) == ["echo request"] * 2 + ["echo reply"] * 2
    assert len(wire) == 0


@pytest.mark.parametrize(
    "protocol, there, padded, said",
    [(1, 0, 60, ""), (1, 0, 34, ""), (1, 1, 60, "echo request"), (1, 1, 35, "echo request"), (6, 0, 60, ""), (6, 13, 60, ""), (6, 13, 47, "")],
)
def test_what_lies_behind_a_packet_is_not_said_of_it(net, protocol, there, padded, said):
    """A message or segment cut short, in a frame that is padded or not."""
    head = Ether(src="02:00:00:00:02:02", dst="02:00:00:00:02:01") / IP(src="10.0.2.2", dst="192.0.2.1", proto=protocol, len=20 + there)
    with net["r"].capture("b", "src host 10.0.2.2 and dst host 192.0.2.1") as seen, net["b"].socket("packet", "raw") as sock:
        sock.bind("veth-r")
        sock.send((bytes(head) + b"\x08" * there).ljust(padded, b"\x02"))
        assert seen.wait(1) == 1
    assert list(seen.to_frame().summary) == [said]


def test_a_handshake(net):
    with net["b"].tcp_server(7), net["r"].capture("a", "tcp") as seen, net["a"].tcp_connect("b") as opened:
        opened.exchange(size=10)
    frame = seen.to_frame()
    assert list(frame.summary[:3]) == ["SYN", "SYN ACK", "ACK"] and "PSH ACK" in set(frame.summary)
    assert list(frame.destination_port[:2]) == [7, frame.source_port[0]]


def test_as_tcpdump_sees_it(net, tmp_path):
    """The same packets, byte by byte, by another hand."""
    with net["b"].spawn("exec tcpdump -i veth-r -s 2000 -B 8192 -U --immediate-mode -w - udp") as tcpdump:
        tcpdump.wait_for("listening")
        with net["b"].capture("r", "udp") as seen:
            net["a"].udp_flood("b", packets=50, flows=5, size=333)
            seen.wait(50)
        from waiting import until

        until(lambda: len(net._lab.ask("process.state", tcpdump._number)["stdout"]) >= 24 + 50 * (16 + 375), "tcpdump's packets")
        data = net._lab.ask("process.state", tcpdump._number)["stdout"]
    theirs = [data[24 + i * 391 + 16 : 24 + (i + 1) * 391] for i in range(50)]
    assert seen.packets == theirs


@pytest.mark.parametrize("tag", ["8100", "88a8"])
def test_a_vlan_tag_is_part_of_the_packet(net, tag):
    frame = bytes.fromhex(f"020000000201 020000000202 {tag}0064 0800") + bytes(46)
    with net["r"].capture("b") as seen, net["b"].socket("packet", "raw") as sock:
        sock.bind("veth-r")
        sock.send(frame)
        assert seen.wait(1) == 1
    assert seen.packets == [frame] and seen.to_frame().vlan[0] == 100


def test_filters_of_a_wire(net):
    """The kernel keeps a VLAN tag beside the packet, and knows the direction; a filter finds both."""
    plain, tagged = (bytes.fromhex("020000000201020000000202" + tag) + b"\x88\xb5" + bytes(46) for tag in ("", "81000064"))
    with (
        net["r"].capture("b", "vlan 100") as hundred,
        net["r"].capture("b", "vlan 101") as other,
        net["r"].capture("b", "inbound and icmp") as inbound,
        net["r"].capture(filter="outbound and icmp") as outbound,
        net["b"].socket("packet", "raw") as sock,
    ):
        sock.bind("veth-r")
        sock.send(plain)
        sock.send(tagged)
        net["b"].ping("r", count=3)
        assert hundred.wait(1) == 1 and inbound.wait(3) == 3 and outbound.wait(3) == 3
    assert hundred.packets == [tagged] and len(other) == 0
    assert list(inbound.to_frame().summary) == ["echo request"] * 3 and list(outbound.to_frame().summary) == ["echo reply"] * 3


def test_a_filter_where_the_interface_is_down(lab):
    with lab.netlab("e", "f") as net:
        net.link("e", "f").cut()
        with net["f"].capture("e", "icmp") as seen:
            net.link("e", "f").restore()
            net["e"].ping("f")
        assert len(seen) == 2


def test_many(net):
    """More than one block of the ring, of two sizes in turn, none lost, in order."""
    with net["r"].capture("a", "udp port 9") as seen:
        for size in (18, 900, 18):
            net["a"].udp_flood("r", packets=6_000, size=size, rate=100_000)
        assert seen.wait(18_000) == 18_000
    frame = seen.to_frame()
    assert seen.lost == 0 and list(frame.length) == [60] * 6_000 + [942] * 6_000 + [60] * 6_000


def test_no_more_than_asked_for(net):
    with net["r"].capture("a", "udp", most=10) as seen:
        net["a"].udp_flood("r", packets=1_000)
        seen.wait(1_000)
    assert (len(seen), seen.lost) == (10, 990) and "10 packets; 990 more were lost" in repr(seen)


def test_chains():
    """Places of headers, where packets of one size and of several follow each other."""
    rng = np.random.default_rng(1)
    steps = np.repeat(rng.integers(6, 40, 300) * 8, rng.integers(1, 30, 300))
    starts = np.concatenate([[0], np.cumsum(steps)[:-1]])
    block = np.zeros(int(steps.sum()), np.uint8)
    block.view("u4")[starts // 4] = steps
    block.view("u4")[starts[-1] // 4] = 0  # the last one of a block
    assert (np.concatenate(capture._chain(block, len(steps), 7)) == starts + 7).all()


def test_wrong_use(net):
    with pytest.raises(bl.UnknownNameError, match="no interface named 'veth-x' in host 'a'"):
        net["a"].capture("veth-x")
    with pytest.raises(ValueError, match="tcpdump does not understand the filter 'udp prt 5'"):
        net["a"].capture(filter="udp prt 5")
    with pytest.raises(ValueError, match="that a capture keeps, is 1 to"):
        net["a"].capture(most=0)
    one = net["a"].capture()
    with pytest.raises(bl.LabError, match="has not begun; use it in a with statement"):
        len(one)
    with one:
        pass
    assert len(one) == 0 and one.to_frame().empty
    with pytest.raises(IndexError, match="there is no packet 0; 0 were captured on 'a'"):
        one[0]
    with pytest.raises(bl.LabError, match="has begun already"), one:
        pass


def test_the_end_of_the_network_ends_a_capture(lab):
    with lab.netlab("c", "d") as net:
        seen = net["c"].capture().__enter__()
        net["c"].ping("d")
    assert len(seen) == 2
