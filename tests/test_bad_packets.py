"""What goes wrong on networks and with packets: each is refused, or told, in words that end with a next step.

A file that is cut short: test_netlab_traffic.py. Sizes that no test run takes, types that have none: test_packet_bench.py.
"""

from __future__ import annotations

import errno
import struct

import pytest
from packet_seeds import PACKETS

import bpflab as bl
from bpflab import testing

C = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
__u64 seen;
SEC("xdp") int pass(struct xdp_md *ctx) { __sync_fetch_and_add(&seen, 1); return XDP_PASS; }
SEC("xdp") int other(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp.frags") int large(struct xdp_md *ctx) { return XDP_PASS; }
SEC("tc") int mark(struct __sk_buff *skb) { return skb->mark; }
SEC("socket") int keep(struct __sk_buff *skb) { return skb->len; }
SEC("raw_tp/sched_switch") int switched(void *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""
HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


@pytest.fixture(scope="module")
def net(lab):
    with lab.netlab("a", "b") as net:
        yield net


@pytest.fixture(scope="module")
def obj(lab):
    with lab.load(C) as obj:
        yield obj


@pytest.fixture
def programs(obj):
    return obj.programs


# -- packets


@pytest.mark.parametrize("name", ["pass", "mark", "keep"])
@pytest.mark.parametrize("packet", [b"", "", bytes(13)])
def test_less_than_an_ethernet_header(programs, name, packet):
    said = "at least the 14 of an Ethernet header; give it from there on"
    with pytest.raises(bl.BpfError, match=said):
        programs[name].bench(packet)
    with pytest.raises(bl.BpfError, match=said):
        testing.assert_verdict(programs[name], packet, 0)
    if isinstance(packet, bytes):
        with pytest.raises(bl.BpfError, match=said):
            programs[name].test_run(packet)


@pytest.mark.parametrize("name", ["pass", "mark", "keep"])
def test_shorter_than_its_headers_claim(programs, name):
    """The kernel takes it, as it would take it off a wire; what the reader sees says so."""
    run = programs[name].bench(PACKETS["tcp"][:38])
    assert (
        any("cut short" in note for note in run.before.notes)
        and "cut short" in repr(run)
        and "cut short" in run._repr_html_()
    )


def test_a_context_that_a_test_cannot_have(programs):
    for ctx in (b"\1" * 192, b"\1", bytes(16) + b"\1"):
        with pytest.raises(
            bl.BpfError, match="its context is refused; of a struct __sk_buff a test may set mark, priority"
        ):
            programs["mark"].bench(PACKETS["tcp"], ctx=ctx)
    frame = programs["mark"].bench([PACKETS["tcp"]], ctx=b"\1")
    assert "its context is refused" in frame.refused[0]
    assert programs["mark"].bench(PACKETS["tcp"], ctx=bytes(8) + struct.pack("I", 7)).retval == 7


@pytest.mark.parametrize("verdict", [0, "XDP_PASS", "nothing"])
def test_a_program_that_sees_no_packet(programs, verdict):
    """Whatever verdict a test asks for, the type is what is wrong."""
    with pytest.raises(
        bl.NotSupportedError,
        match=r"raw_tracepoint programs not supported .* run it on its context: prog.test_run\(ctx=...\)",
    ):
        testing.assert_verdict(programs["switched"], PACKETS["tcp"], verdict)
    with pytest.raises(bl.NotSupportedError, match="raw_tracepoint"):
        testing.assert_packet(programs["switched"], PACKETS["tcp"], PACKETS["tcp"])
    with pytest.raises(bl.NotSupportedError, match="raw_tracepoint"):
        testing.assert_table(programs["switched"], [(PACKETS["tcp"], verdict)])
    with pytest.raises(
        bl.BpfError, match=r"raw_tracepoint programs see no packet; run it on its context, test_run\(ctx=...\)"
    ):
        programs["switched"].test_run(PACKETS["tcp"])


# -- interfaces


@pytest.mark.parametrize("attach", ["attach_xdp", "attach_tc", "attach_tcx", "attach_socket"])
def test_an_interface_of_another_namespace(lab, net, programs, attach):
    program = programs[{"attach_xdp": "pass", "attach_socket": "keep"}.get(attach, "mark")]
    with pytest.raises(
        bl.BpfError,
        match=r"no interface 'veth-b' here; there are: .*; host 'a' of a network has one of this name, in .*: net\['a'\]\.dev",
    ) as caught:
        getattr(program, attach)("veth-b")
    assert caught.value.errno == errno.ENODEV
    with pytest.raises(bl.BpfError, match=r"; 'a' is a host, and net\['a'\]\.dev its interface"):
        getattr(program, attach)(net["a"])
    for wrong in (None, 2, net):
        with pytest.raises(
            TypeError, match=r"an interface is one of a network, net\['a'\].dev, or a name such as 'lo', not"
        ):
            getattr(program, attach)(wrong)
    with (
        lab.netlab("x -- [s] -- y"),
        pytest.raises(bl.BpfError, match=r"host 's' of a network .*net\['s'\]\.devs\['y'\]"),
    ):
        getattr(program, attach)("veth-y")


def test_an_interface_of_another_host(net):
    with pytest.raises(
        bl.UnknownNameError, match="no interface named 'veth-a' in host 'a' .interfaces of another host belong to that"
    ):
        net["a"].capture(net["b"].dev)
    with pytest.raises(bl.UnknownNameError, match="no interface named 'veth-a' in host 'a'"):
        net["a"].replay("any.pcap", net["b"].dev)
    with (
        net["a"].socket("packet", "raw") as sock,
        pytest.raises(bl.BpfError, match="cannot be bound to veth-a; its host has no interface of that name"),
    ):
        sock.bind(net["b"].dev)


def test_an_interface_of_another_lab(lab, net, obj, machine):
    """Two labs with hosts of the same names: a program goes to its own network, or nowhere."""
    with bl.Lab(machine, quiet=True) as second, second.netlab("a", "b") as theirs:
        assert theirs["a"].dev == net["a"].dev  # to look at, they are the same
        for attach, target in (("attach_xdp", theirs["b"].dev), ("attach_xdp", theirs["b"])):
            with pytest.raises(
                ValueError,
                match="belongs to a network of another lab .*; make the network with the lab that loads the program",
            ):
                getattr(obj.programs["pass"], attach)(target)
        obj.globals["seen"] = 0
        with obj.programs["pass"].attach_xdp(net["b"].dev):
            assert theirs["a"].ping("b").received == 1
            assert obj.globals["seen"] == 0
            assert net["a"].ping("b").received == 1
            assert obj.globals["seen"] == 1
        theirs["a"].sh("ip link set veth-b down")
        assert net["a"].ping("b").received == 1
        second.close()
    assert net["a"].ping("b").received == 1


def test_xdp_twice(net, programs):
    dev = net["b"].dev
    with programs["pass"].attach_xdp(dev, "native"):
        for again in ("pass", "other"):
            with pytest.raises(bl.BpfError, match="something is attached there already; detach it first"):
                programs[again].attach_xdp(dev)
        with pytest.raises(bl.BpfError, match="one is there in the other mode; detach it first"):
            programs["other"].attach_xdp(dev, "generic")
    with (
        programs["pass"].attach_xdp(dev, "generic"),
        pytest.raises(bl.BpfError, match="one is there in the other mode; detach it first"),
    ):
        programs["other"].attach_xdp(dev, "native")
    programs["other"].attach_xdp(dev, "native").detach()


def test_tcx_twice(net, programs):
    with (
        programs["mark"].attach_tcx(net["b"].dev),
        pytest.raises(bl.BpfError, match="it is attached there already; detach it first"),
    ):
        programs["mark"].attach_tcx(net["b"].dev)


def test_a_mtu_too_large_for_native_mode(lab, programs):
    with lab.netlab("x", "y", mtu=9000) as net:
        for mode in ("native", None):
            with pytest.raises(
                bl.BpfError,
                match=r'the MTU is too large for native mode, .*SEC\("xdp.frags"\), or attach_xdp\(dev, "generic"\)',
            ) as caught:
                programs["pass"].attach_xdp(net["y"].dev, mode)
            assert caught.value.errno == errno.ERANGE
        for name, mode in (("large", "native"), ("pass", "generic")):  # what the text says helps
            with programs[name].attach_xdp(net["y"].dev, mode), net["y"].capture(filter="udp") as seen:
                assert net["x"].udp_flood("y", size=8000, packets=2).sent == 2
                assert seen.wait(2) == 2 and len(seen[0]) == 8042


# -- wires


def test_a_peer_that_is_down(lab, tmp_path):
    """The kernel takes what is sent into nothing, and says that it was sent. The result says that it is lost."""
    (tmp_path / "one.pcap").write_bytes(HEAD + struct.pack("<4I", 0, 0, 60, 60) + bytes(12) + b"\x88\xb5" + bytes(46))
    lost = "veth-r has no carrier: its other end is down, and what was sent is lost; net.link(...).restore()"
    with lab.netlab("c", "r", "d") as net:
        c, wire = net["c"], net.link("c", "r")
        assert c.udp_flood("r", packets=5).why == ""
        wire.cut()
        for sent in (
            c.udp_flood("r", packets=5),
            c.udp_flood("d", packets=5),
            c.udp_flood("r", packets=5, way="frames"),
            c.replay(tmp_path / "one.pcap"),
        ):
            assert sent.sent >= 1 and sent.refused == 0 and sent.why.startswith(lost)
        assert c.ping("r", timeout=0.05).received == 0
        assert c.tcp_connect("r", timeout=0.05).to_frame().error[0] == "timed out"
        with pytest.raises(
            bl.BpfError,
            match=r"cannot send to 10.0.1.1: no route leads there from here; is .* its interface up, the wire whole \(net.link",
        ) as caught:
            net["r"].ping("c")
        assert caught.value.errno == errno.ENETUNREACH
        assert net["r"].replay(tmp_path / "one.pcap", "c").why == "packet 1: ENETDOWN: the interface is down"
        assert net["r"].udp_flood("d", packets=5).why == ""  # the other wire is whole
        wire.restore()
        assert c.udp_flood("d", packets=5).why == ""


def test_a_program_on_an_interface_that_is_down(lab, programs):
    """It is attached, and there when the interface comes up."""
    with lab.netlab("c", "d") as net:
        wire = net.link("c", "d")
        wire.cut()
        with programs["pass"].attach_xdp(net["d"].dev), programs["mark"].attach_tc(net["d"].dev):
            wire.restore()
            assert net["c"].ping("d").received == 1


# -- capture files


def test_frames_that_are_none(net, tmp_path):
    """Of no bytes, or less than a header: refused each by itself, the others are sent."""
    frames = [b"", bytes(12) + b"\x88\xb5" + bytes(46), bytes(5)]
    (tmp_path / "short.pcap").write_bytes(HEAD + b"".join(struct.pack("<4I", 0, 0, len(f), len(f)) + f for f in frames))
    sent = net["a"].replay(tmp_path / "short.pcap")
    assert (sent.sent, sent.refused, sent.why) == (
        1,
        2,
        "packet 1: EINVAL: it is shorter than an Ethernet header, 14 bytes",
    )
    (tmp_path / "none.pcap").write_bytes(HEAD)
    assert net["a"].replay(tmp_path / "none.pcap").sent == 0


def test_a_file_that_is_not_there(net, tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match="the capture file cannot be read: no such file or directory; give a pcap file on the notebook's computer",
    ):
        net["a"].replay(tmp_path / "none.pcap")
    with pytest.raises(IsADirectoryError, match="cannot be read: is a directory; give a pcap file"):
        net["a"].replay(tmp_path)
    with pytest.raises(TypeError, match="given by its path, not as bytes"):
        net["a"].replay(HEAD)


# -- numbers and names


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda n: n["a"].ping("b", count="3"), TypeError, "count is a whole number, not str; give 1 to 1,000,000"),
        (lambda n: n["a"].ping("b", timeout="x"), TypeError, "timeout is a number, not str; give 0 to 600 seconds"),
        (lambda n: n["a"].ping("b", timeout=float("nan")), ValueError, "timeout is 0 to 600 seconds, not nan"),
        (lambda n: n["a"].ping("b", interval=-1), ValueError, "interval is 0 to 600 seconds, not -1"),
        (
            lambda n: n["a"].ping("300.1.1.1"),
            ValueError,
            "'300.1.1.1' is neither an address nor a host of this network; it has a, b",
        ),
        (lambda n: n["a"].ping("fe80::1%veth-b"), ValueError, "it is no address here; give a host"),
        (lambda n: n["a"].ping(None), bl.UnknownNameError, "no host named 'None'"),
        (lambda n: n["a"].udp_flood("b", packets=10.5), TypeError, "packets is a whole number, not float"),
        (lambda n: n["a"].udp_flood("b", packets=True), TypeError, "packets is a whole number, not bool"),
        (lambda n: n["a"].udp_flood("b", rate=-5), ValueError, "rate is 0 to 1,000,000,000 packets a second, not -5"),
        (lambda n: n["a"].udp_flood("b", rate=float("nan")), ValueError, "not nan"),
        (
            lambda n: n["a"].udp_flood("b", seconds="1"),
            TypeError,
            "seconds is a number, not str; give more than 0, and at most 600",
        ),
        (lambda n: n["a"].udp_flood("b", size="x"), TypeError, "payload in bytes, is a whole number, not str"),
        (lambda n: n["a"].start("ping", "b", count="x").result(), TypeError, "count is a whole number"),
        (lambda n: n["a"].tcp_connect("b", timeout=None), TypeError, "timeout is a number, not NoneType"),
        (lambda n: n["a"].http_get("b", None), ValueError, "begins with / and has no blanks: not None"),
        (lambda n: n["a"].http_get("b", interval="x"), TypeError, "interval is a number"),
        (lambda n: n["b"].http_server(81, ["x"]), TypeError, "pages are texts or bytes by path"),
        (lambda n: n["b"].http_server(81, {"/": 5}), TypeError, "pages are texts or bytes by path"),
        (lambda n: n["b"].http_server("80"), TypeError, "port is a whole number, not str; give 0 to 65,535"),
        (lambda n: n.link("a", "b").lose("5"), TypeError, "a loss is a number, not str; give 0 to 100 percent"),
        (lambda n: n.link("a", "b").lose(101), ValueError, "a loss is 0 to 100 percent, not 101"),
        (lambda n: n.link("a", "b").delay(-1), ValueError, "a delay is 0 to 10,000 ms, not -1"),
        (lambda n: n["a"].capture(filter=5), TypeError, "a filter is a text as tcpdump takes it"),
        (lambda n: n["a"].capture(most="x"), TypeError, "is a whole number, not str"),
        (lambda n: n["a"].capture(most=0), ValueError, "is 1 to"),
        (lambda n: n._lab.netlab(["p", "q"]), TypeError, r'lab.netlab\("a", "b"\), or of a drawing, .* not of a list'),
        (
            lambda n: n._lab.netlab("p", "q", mtu="big"),
            TypeError,
            "an MTU is a whole number, not str; give 1,280 to 65,535",
        ),
        (
            lambda n: n._lab.netlab("p", "q", queues=2.0),
            TypeError,
            "the number of queues is a whole number, not float; give 1 to 64",
        ),
    ],
)
def test_wrong_use_of_a_network(net, call, kind, words):
    with pytest.raises(kind, match=words):
        call(net)


def test_a_packet_by_another_thing_than_a_number(net):
    with net["a"].capture() as seen:
        net["a"].ping("b")
    with pytest.raises(TypeError, match="the 2 packets have numbers, from 0 on, not a str"):
        seen["x"]
