"""Programs at their places in the network: attached, an event delivered, detached."""

from __future__ import annotations

import errno

import pytest

import bpflab as bl

HEAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
char LICENSE[] SEC("license") = "GPL";
__u64 seen;
"""
COUNT = """
const volatile int verdict;
SEC("%s") int count(struct %s *ctx) { __sync_fetch_and_add(&seen, 1); return verdict; }
"""
XDP_DROP, XDP_PASS = 1, 2  # enum xdp_action, include/uapi/linux/bpf.h
TC_ACT_UNSPEC, TC_ACT_OK, TC_ACT_SHOT = -1, 0, 2  # include/uapi/linux/pkt_cls.h
BPF_DROP = 2  # enum bpf_ret_code
ETH_P_TEST = b"\x88\xb5"  # ETH_P_802_EX1: for experiments


@pytest.fixture(scope="module")
def net(lab):
    with lab.netlab("a", "r", "b") as net:
        yield net


@pytest.fixture(scope="module")
def wire(net):
    """The two ends of one cable."""
    return net["a"].dev, net["r"].devs["a"]


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def filters(net) -> str:
    return net["r"].sh("tc filter show dev veth-a ingress; tc filter show dev veth-a egress").stdout


# -- interfaces


@pytest.mark.parametrize(("mode", "shown"), [(None, "xdp"), ("native", "xdp"), ("generic", "xdpgeneric")])
def test_xdp(lab, net, wire, mode, shown):
    with lab.load(HEAD + COUNT % ("xdp", "xdp_md"), verdict=XDP_DROP) as obj:
        with obj.programs["count"].attach_xdp(wire[1], mode) as link:
            assert link.id
            assert f" {shown} qdisc" in net["r"].sh("ip link show dev veth-a").stdout
            assert net["a"].ping("r", count=3, timeout=0.1).received == 0
            assert obj.globals["seen"] == 3
        assert net["a"].ping("r").received == 1
        assert obj.globals["seen"] == 3


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_xdp_sends_back(lab, net, wire, mode):
    text = """
    SEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }

    SEC("xdp") int bounce(struct xdp_md *ctx)
    {
        void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
        struct ethhdr *eth = data;
        unsigned char mac[6];

        if (data + sizeof(*eth) > end)
            return XDP_DROP;
        __builtin_memcpy(mac, eth->h_dest, 6);
        __builtin_memcpy(eth->h_dest, eth->h_source, 6);
        __builtin_memcpy(eth->h_source, mac, 6);
        return XDP_TX;
    }
    """
    here, there = wire
    frame = mac(there.mac) + mac(here.mac) + ETH_P_TEST + bytes(range(46))
    with (
        lab.load(HEAD + text) as obj,
        obj.programs["bounce"].attach(there, mode),
        obj.programs["pass"].attach(here, mode),
        net["a"].socket("packet", "raw").bind(here) as sock,
    ):
        sock.send(frame)
        assert sock.recv() == frame[6:12] + frame[:6] + frame[12:]


@pytest.mark.parametrize("method", ["attach_tc", "attach_tcx"])
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_traffic_control(lab, net, wire, method, direction):
    with lab.load(HEAD + COUNT % ("tc", "__sk_buff"), verdict=TC_ACT_SHOT) as obj:
        link = getattr(obj.programs["count"], method)(wire[1], direction)
        assert net["a"].ping("r", count=2, timeout=0.1).received == 0
        assert obj.globals["seen"] == 2
        link.detach()
        assert net["a"].ping("r").received == 1
        assert obj.globals["seen"] == 2
    assert filters(net) == ""


@pytest.mark.parametrize("method", ["attach_tc", "attach_tcx"])
def test_traffic_control_has_room_for_two(lab, net, wire, method):
    text = HEAD + COUNT % ("tc", "__sk_buff")
    with lab.load(text, verdict=TC_ACT_UNSPEC) as one, lab.load(text, verdict=TC_ACT_UNSPEC) as two:
        first = getattr(one.programs["count"], method)(wire[1])
        with getattr(two.programs["count"], method)(wire[1]):
            assert net["a"].ping("r").received == 1
            first.detach()
            assert net["a"].ping("r").received == 1
        assert (one.globals["seen"], two.globals["seen"]) == (1, 2)
    assert filters(net) == ""


ORDERED = """
__u64 turn;
SEC("tc") int first(struct __sk_buff *skb) { turn = turn * 10 + 1; return -1; }
SEC("tc") int second(struct __sk_buff *skb) { turn = turn * 10 + 2; return -1; }
SEC("tc") int third(struct __sk_buff *skb) { turn = turn * 10 + 3; return -1; }
"""


def test_tcx_in_order(lab, net, wire):
    with lab.load(HEAD + ORDERED) as obj:
        first, second, third = obj.programs.values()

        def turns() -> int:
            obj.globals["turn"] = 0
            assert net["a"].ping("r").received == 1
            return obj.globals["turn"]

        with second.attach_tcx(wire[1]) as link:
            with third.attach_tcx(wire[1]), first.attach_tcx(wire[1], before="all"):
                assert turns() == 123
            with third.attach_tcx(wire[1], before=link), first.attach_tcx(wire[1], after=link):
                assert turns() == 321
            with first.attach_tcx(wire[1]), third.attach_tcx(wire[1], after=link):
                assert turns() == 231
            with first.attach_tcx(wire[1]), third.attach_tcx(wire[1], after="all"):
                assert turns() == 213


def test_an_order_that_cannot_be(lab, wire):
    with lab.load(HEAD + ORDERED) as obj:
        first, second, _ = obj.programs.values()
        with first.attach_tcx(wire[1]) as link:
            with pytest.raises(ValueError, match="before or after, not both"):
                second.attach_tcx(wire[1], before=link, after=link)
            for wrong in ("first", second, 5):
                with pytest.raises(TypeError, match='before is a link of attach_tcx, or "all", not'):
                    second.attach_tcx(wire[1], before=wrong)
            with pytest.raises(bl.BpfError, match="tcx egress of veth-a; the link that it should stand beside is at another place"):
                second.attach_tcx(wire[1], "egress", after=link)
        with pytest.raises(bl.BpfError, match="is over; attach the program again"):
            second.attach_tcx(wire[1], after=link)


@pytest.mark.parametrize("kind", ["lwt_in", "lwt_out", "lwt_xmit"])
def test_route(lab, net, kind):
    """A program on a host's own route for what it sends, on the router's for what it passes on."""
    where = (net["r"].devs["b"],) if kind == "lwt_in" else (net["a"].dev,)
    via = {} if kind == "lwt_in" else {"via": net["r"].ip}
    with lab.load(HEAD + COUNT % (kind, "__sk_buff"), verdict=BPF_DROP) as obj:
        with obj.programs["count"].attach(*where, net["b"].ip, **via):
            assert net["a"].ping("b", count=2, timeout=0.1).received == 0
            assert obj.globals["seen"] == 2
        assert net["a"].ping("b").received == 1
        assert obj.globals["seen"] == 2


def test_route_refused(lab, net):
    pins = lab.sh("ls /sys/fs/bpf").stdout
    with lab.load(HEAD + COUNT % ("lwt_out", "__sk_buff"), verdict=0) as obj:
        with pytest.raises(bl.BpfError, match="no interface 'veth-x' here; there are: lo, veth-r"):
            obj.programs["count"].attach_lwt(net["a"].dev._replace(name="veth-x"), "10.0.1.2")
        with pytest.raises(bl.BpfError, match="10.0.1.300"):
            obj.programs["count"].attach_lwt(net["a"].dev, "10.0.1.300")
    assert lab.sh("ls /sys/fs/bpf").stdout == pins


# -- a packet socket, a namespace


def test_packet_socket(lab, net, wire):
    text = """
    #define ICMP 1
    SEC("socket") int count(struct __sk_buff *skb)
    {
        __u8 protocol = 0;

        bpf_skb_load_bytes(skb, 14 + 9, &protocol, 1);
        if (skb->pkt_type == 4 || protocol != ICMP) /* PACKET_OUTGOING */
            return 0;
        __sync_fetch_and_add(&seen, 1);
        return skb->len;
    }
    """
    with lab.load(HEAD + text) as obj:
        with obj.programs["count"].attach(wire[1]):
            assert net["a"].ping("r", count=4).received == 4
        assert net["a"].ping("r").received == 1
        assert obj.globals["seen"] == 4


def test_flow_dissector(lab, net, wire):
    """A packet socket has the kernel look for the transport header of what it sends, and so has a flow dissected."""
    text = """
    SEC("flow_dissector") int dissect(struct __sk_buff *skb)
    {
        if (skb->flow_keys->n_proto == bpf_htons(0x88b5))
            __sync_fetch_and_add(&seen, 1);
        return BPF_DROP;
    }
    """
    frame = mac(wire[1].mac) + mac(wire[0].mac) + ETH_P_TEST + bytes(46)
    with lab.load(HEAD + text) as obj, net["a"].socket("packet", "raw").bind(wire[0]) as sock:
        with obj.programs["dissect"].attach(net["a"]) as link:
            assert link.id
            sock.send(frame)
            assert obj.globals["seen"] == 1
        sock.send(frame)
        assert obj.globals["seen"] == 1


def test_sk_lookup(lab, net):
    """One socket answers for every port of its host."""
    text = """
    struct {
        __uint(type, BPF_MAP_TYPE_SOCKMAP);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, __u64);
    } listener SEC(".maps");

    SEC("sk_lookup") int any_port(struct bpf_sk_lookup *ctx)
    {
        __u32 key = 0;
        struct bpf_sock *sk = bpf_map_lookup_elem(&listener, &key);
        long refused;

        if (!sk)
            return SK_PASS;
        refused = bpf_sk_assign(ctx, sk, 0);
        bpf_sk_release(sk);
        return refused ? SK_DROP : SK_PASS;
    }
    """
    with lab.load(HEAD + text) as obj, net["b"].socket().listen() as server:
        obj.maps["listener"][0] = server
        port = 7 if server.port != 7 else 8
        with obj.programs["any_port"].attach(net["b"]), net["a"].socket().connect((net["b"].ip, port)) as client:
            with server.accept() as accepted:
                client.send(b"to a port that nobody opened")
                assert accepted.recv() == b"to a port that nobody opened"
                assert accepted.port == port
        with net["a"].socket() as client, pytest.raises(bl.BpfError, match="nobody listens there") as caught:
            client.connect((net["b"].ip, port))
        assert caught.value.errno == errno.ECONNREFUSED


# -- struct_ops


def test_struct_ops(lab, net):
    """A congestion control of ours, chosen by one connection."""
    text = """
    #include <bpf/bpf_tracing.h>
    SEC("struct_ops/init") void BPF_PROG(begin, struct sock *sk) { __sync_fetch_and_add(&seen, 1); }
    SEC("struct_ops/ssthresh") __u32 BPF_PROG(threshold, struct sock *sk) { return 2; }
    SEC("struct_ops/undo_cwnd") __u32 BPF_PROG(undo, struct sock *sk) { return 10; }
    SEC("struct_ops/cong_avoid") void BPF_PROG(avoid, struct sock *sk, __u32 ack, __u32 acked) {}
    SEC(".struct_ops") struct tcp_congestion_ops labcc = {
        .init = (void *)begin,
        .ssthresh = (void *)threshold,
        .undo_cwnd = (void *)undo,
        .cong_avoid = (void *)avoid,
        .name = "labcc",
    };
    """
    IPPROTO_TCP, TCP_CONGESTION = 6, 13
    with lab.load(HEAD + text) as obj:
        with obj.maps["labcc"].attach(), net["b"].socket().listen() as server, net["a"].socket() as client:
            client.setsockopt(IPPROTO_TCP, TCP_CONGESTION, b"labcc")
            client.connect(server)
            assert client.getsockopt(IPPROTO_TCP, TCP_CONGESTION, 16).rstrip(b"\0") == b"labcc"
            with server.accept() as accepted:
                client.send(b"x" * 100_000)
                assert len(accepted.recv_exactly(100_000)) == 100_000
            assert obj.globals["seen"] == 1
        with net["a"].socket() as client, pytest.raises(bl.BpfError) as caught:
            client.setsockopt(IPPROTO_TCP, TCP_CONGESTION, b"labcc")
        assert caught.value.errno == errno.ENOENT


# -- refused


def test_refusals_say_what_to_do(lab, net, wire):
    with lab.load(HEAD + COUNT % ("xdp", "xdp_md"), verdict=XDP_PASS) as obj:
        program = obj.programs["count"]
        with pytest.raises(bl.BpfError, match="no interface 'eth99' here; there are: lo, veth-r"):
            program.attach_xdp(wire[0]._replace(name="eth99"))
        with pytest.raises(ValueError, match="native, generic or offload"):
            program.attach_xdp(wire[1], "fast")
        with pytest.raises(TypeError, match=r"say where, with attach_xdp\(...\)"):
            program.attach()
        with program.attach_xdp(wire[1]), pytest.raises(bl.BpfError, match="attached there already; detach it first"):
            program.attach_xdp(wire[1])
        with pytest.raises(bl.BpfError, match="type 'xdp'.* does not fit"):
            program.attach_tc(wire[1])
        with pytest.raises(bl.NotSupportedError, match="XDP offload"):
            program.attach_xdp(wire[1], "offload")
    assert net["a"].ping("r").received == 1


def test_refusals_of_tcx_say_what_to_do(lab, wire):
    with lab.load(HEAD + COUNT % ("tc", "__sk_buff"), verdict=TC_ACT_OK) as obj:
        obj.programs["count"].attach_tcx(wire[1]).detach()
        with pytest.raises(ValueError, match="ingress or egress"):
            obj.programs["count"].attach_tcx(wire[1], "up")
    with lab.load(HEAD + COUNT % ("xdp", "xdp_md"), verdict=XDP_PASS) as obj:
        with pytest.raises(bl.BpfError, match="type 'xdp'.* does not fit") as caught:
            obj.programs["count"].attach_tcx(wire[1])
        assert caught.value.errno == errno.EINVAL


def test_the_same_program_twice(lab, net, wire):
    with lab.load(HEAD + COUNT % ("tc", "__sk_buff"), verdict=TC_ACT_OK) as obj:
        program = obj.programs["count"]
        with program.attach_tcx(wire[1]), pytest.raises(bl.BpfError, match="it is attached there already"):
            program.attach_tcx(wire[1])


def test_an_interface_that_is_gone(lab):
    """A link outlives its interface and is detached as any other; a new attempt names what is missing."""
    with lab.load(HEAD + COUNT % ("xdp", "xdp_md"), verdict=XDP_PASS) as obj:
        program = obj.programs["count"]
        with lab.netlab("gone", "away") as net:
            dev = net["gone"].dev
            link = program.attach_xdp(dev)
            net["gone"].sh("ip link del veth-away")
            with pytest.raises(bl.BpfError, match="no interface 'veth-away' here"):
                program.attach_xdp(dev)
        link.detach()
        with pytest.raises(bl.BpfError, match="namespace /run/netns/gone is gone; make it again with lab.netlab"):
            program.attach_xdp(dev)
        with pytest.raises(bl.BpfError, match="namespace /run/netns/gone is gone"):
            program.attach_tc(dev)
