"""bpflab.refusal: a bare errno of the kernel becomes a reason that fits the map's type."""

import pytest

import bpflab as bl

PROGRAMS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} table SEC(".maps");

SEC("xdp") int jump(struct xdp_md *ctx) { bpf_tail_call(ctx, &table, 0); return XDP_PASS; }
SEC("socket") int stranger(struct __sk_buff *skb) { return 0; }

char LICENSE[] SEC("license") = "GPL";
"""


def test_prog_array_names_the_type_rule(lab):
    with lab.load(PROGRAMS) as obj:
        with pytest.raises(bl.BpfError, match="all of one type"):
            obj.maps["table"][0] = obj.programs["stranger"]
        with pytest.raises(bl.BpfError, match="index is out of range; it has 4 elements, 0 to 3"):
            obj.maps["table"][4] = obj.programs["jump"]


def test_map_of_maps_names_the_pattern(lab):
    pattern = lab.create_map("hash", "u32", "u64", 4)
    other = lab.create_map("hash", "u32", "u32", 4)
    outer = lab.create_map("hash_of_maps", "u32", None, 4, inner=pattern)
    with pytest.raises(bl.BpfError, match="must be like the one it was made with"):
        outer[1] = other
    for one in (outer, other, pattern):
        one.close()


def test_cgroup_array_and_queue(lab):
    groups = lab.create_map("cgroup_array", "u32", "u32", 1)
    with pytest.raises(bl.BpfError, match="only programs read it"):
        groups[0]
    line = lab.create_map("queue", None, "u32", 1)
    line.push(1)
    with pytest.raises(bl.BpfError, match="push with replace=True"):
        line.push(2)
    groups.close()
    line.close()


def test_socket_maps_say_what_user_space_reads(lab):
    server = lab.socket().listen()
    sockets = lab.create_map("sockmap", "u32", "u32", 1)
    sockets[0] = server
    with pytest.raises(bl.BpfError, match="cookie, which has 8 bytes"):
        sockets[0]
    cookies = lab.create_map("sockmap", "u32", "u64", 1)
    cookies[0] = server
    assert cookies[0] == server.cookie
    for one in (sockets, cookies, server):
        one.close()
