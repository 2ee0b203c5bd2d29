/*
 * program: copy
 * kind: pointer-unchecked
 * fails: bpf_map_update_elem(&counts, &second, n, BPF_ANY);
 * cause: __u64 *n = bpf_map_lookup_elem(&counts, &first);
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
int copy(struct xdp_md *ctx)
{
    __u32 first = ctx->rx_queue_index, second = 2;
    __u64 *n = bpf_map_lookup_elem(&counts, &first);

    bpf_map_update_elem(&counts, &second, n, BPF_ANY);
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
