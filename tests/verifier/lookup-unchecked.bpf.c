/*
 * program: count
 * kind: pointer-unchecked
 * fails: *n += 1;
 * cause: __u64 *n = bpf_map_lookup_elem(&counts, &key);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
    __u32 key = ctx->ingress_ifindex;
    __u64 *n = bpf_map_lookup_elem(&counts, &key);

    *n += 1;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
