"""Maps that hold interfaces, CPUs, programs and other maps, at work on real packets."""

from __future__ import annotations

import pytest
from waiting import until

import bpflab as bl

HEAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
char LICENSE[] SEC("license") = "GPL";
__u64 seen;
"""
MAP = """
struct {
    __uint(type, BPF_MAP_TYPE_%s);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, %s);
} places SEC(".maps");
"""
# The router's work, without its stack: the frame goes out of the other interface, addressed to the next host.
FORWARD = """
const volatile __u8 next[6];
const volatile __u32 key;
SEC("xdp") int forward(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;

    if (data + sizeof(*eth) > end || eth->h_proto != bpf_htons(0x88b5))
        return XDP_PASS;
    for (int i = 0; i < 6; i++)
        eth->h_dest[i] = next[i];
    __sync_fetch_and_add(&seen, 1);
    return bpf_redirect_map(&places, key, XDP_DROP);
}
"""


@pytest.fixture(scope="module")
def net(lab):
    with lab.netlab("a", "r", "b") as net:
        yield net


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def frame(net, tail: bytes = b"") -> bytes:
    return mac(net["r"].devs["a"].mac) + mac(net["a"].mac) + b"\x88\xb5" + bytes(46) + tail


@pytest.fixture
def ends(net):
    with (
        net["a"].socket("packet", "raw").bind(net["a"].dev) as left,
        net["b"].socket("packet", "raw").bind(net["b"].dev) as right,
    ):
        yield left, right


@pytest.mark.parametrize("kind", ["DEVMAP", "DEVMAP_HASH"])
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_devmap(lab, net, ends, kind, mode):
    left, right = ends
    key = 3 if kind == "DEVMAP" else 70_000
    out, target = net["r"].devs["b"], net["b"].mac
    with lab.load(HEAD + MAP % (kind, "__u32") + FORWARD, next=list(mac(target)), key=key) as obj:
        places = obj.maps["places"]
        with obj.programs["forward"].attach_xdp(net["r"].devs["a"], mode):
            left.send(frame(net, b"lost"))
            places[key] = out
            assert places[key] == out.ifindex
            left.send(frame(net, b"through"))
            assert right.recv() == mac(target) + frame(net, b"through")[6:]
            assert obj.globals["seen"] == 2
            del places[key]
            left.send(frame(net, b"lost"))
            until(lambda: obj.globals["seen"] == 3, "the program sees the last one")
            assert not right.readable()


def test_devmap_with_a_program(lab, net, ends):
    """The value names a program too: it runs on the way out, and knows both interfaces."""
    left, right = ends
    out, target = net["r"].devs["b"], net["b"].mac
    text = (
        MAP % ("DEVMAP", "struct bpf_devmap_val")
        + FORWARD
        + """
    __u32 in, out, dropped;
    SEC("xdp/devmap") int on_the_way(struct xdp_md *ctx)
    {
        in = ctx->ingress_ifindex;
        out = ctx->egress_ifindex;
        return XDP_PASS;
    }
    SEC("xdp/devmap") int nobody(struct xdp_md *ctx) { dropped++; return XDP_DROP; }
    """
    )
    with lab.load(HEAD + text, next=list(mac(target)), key=1) as obj:
        with obj.programs["forward"].attach_xdp(net["r"].devs["a"]):
            obj.maps["places"][1] = (out, obj.programs["on_the_way"])
            left.send(frame(net))
            assert right.recv()[:6] == mac(target)
            assert (obj.globals["in"], obj.globals["out"]) == (net["r"].devs["a"].ifindex, out.ifindex)
            obj.maps["places"][1] = (out, obj.programs["nobody"])
            left.send(frame(net))
            until(lambda: obj.globals["dropped"] == 1, "the program drops it")
            assert not right.readable()


@pytest.mark.parametrize("with_program", [False, True])
def test_cpumap(lab, net, with_program):
    """The frame goes on to the stack on another CPU, with a program's blessing or not."""
    text = (
        MAP % ("CPUMAP", "struct bpf_cpumap_val")
        + """
    SEC("xdp") int elsewhere(struct xdp_md *ctx)
    {
        __sync_fetch_and_add(&seen, 1);
        return bpf_redirect_map(&places, 0, XDP_DROP);
    }
    __u64 there;
    SEC("xdp/cpumap") int arrived(struct xdp_md *ctx) { __sync_fetch_and_add(&there, 1); return XDP_PASS; }
    """
    )
    with lab.load(HEAD + text) as obj, obj.programs["elsewhere"].attach_xdp(net["r"].devs["a"]):
        assert net["a"].ping("r", timeout=0.1).received == 0
        obj.maps["places"][0] = (192, obj.programs["arrived"]) if with_program else 192
        assert net["a"].ping("r", count=3).received == 3
        assert obj.globals["seen"] == 4
        assert obj.globals["there"] == (3 if with_program else 0)


def test_prog_array(lab, net):
    """A tail call, to what stands in the array at the moment."""
    text = (
        MAP % ("PROG_ARRAY", "__u32")
        + """
    SEC("xdp") int first(struct xdp_md *ctx) { bpf_tail_call(ctx, &places, 5); return XDP_PASS; }
    SEC("xdp") int drop(struct xdp_md *ctx) { __sync_fetch_and_add(&seen, 1); return XDP_DROP; }
    SEC("tc") int other(struct __sk_buff *ctx) { return 0; }
    """
    )
    with lab.load(HEAD + text) as obj, obj.programs["first"].attach_xdp(net["r"].devs["a"]):
        places = obj.maps["places"]
        assert net["a"].ping("r").received == 1
        places[5] = obj.programs["drop"]
        assert places[5] == obj.programs["drop"].id
        assert net["a"].ping("r", timeout=0.1).received == 0
        assert obj.globals["seen"] == 1
        del places[5]
        assert net["a"].ping("r").received == 1
        with pytest.raises(bl.BpfError, match="its programs are all of one type"):
            places[5] = obj.programs["other"]


@pytest.mark.parametrize("kind", ["ARRAY_OF_MAPS", "HASH_OF_MAPS"])
def test_map_of_maps(lab, net, kind):
    """The inner map is changed under a program that runs, which counts in the new one from then on."""
    text = """
    struct inner {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, __u64);
    };
    struct {
        __uint(type, BPF_MAP_TYPE_%s);
        __uint(max_entries, 4);
        __type(key, __u32);
        __array(values, struct inner);
    } places SEC(".maps");
    SEC("xdp") int count(struct xdp_md *ctx)
    {
        __u32 key = 2, zero = 0;
        void *inner = bpf_map_lookup_elem(&places, &key);
        __u64 *value = inner ? bpf_map_lookup_elem(inner, &zero) : 0;

        if (value)
            __sync_fetch_and_add(value, 1);
        return XDP_PASS;
    }
    """
    first, second = (lab.create_map("array", "u32", "u64", 1, name=name) for name in ("first", "second"))
    with lab.load(HEAD + text % kind) as obj, obj.programs["count"].attach_xdp(net["r"].devs["a"]):
        places = obj.maps["places"]
        net["a"].ping("r")
        places[2] = first
        net["a"].ping("r", count=2)
        assert places.inner(2).id == places[2] == first.id
        places[2] = second
        net["a"].ping("r", count=3)
        assert (first[0], second[0]) == (2, 3)
        wrong = lab.create_map("array", "u32", "u32", 1)
        with pytest.raises(bl.BpfError, match="an inner map must be like the one"):
            places[2] = wrong
        for one in (first, second, wrong):
            one.close()
