/*
 * program: filter
 * kind: map-type
 * fails: bpf_tail_call(ctx, &jumps, 1);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, __u32);
} jumps SEC(".maps");
SEC("xdp")
int filter(struct xdp_md *ctx)
{
    bpf_tail_call(ctx, &jumps, 1);
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
