/*
 * program: by_address
 * kind: packet-bounds
 * fails: __u64 *n = bpf_map_lookup_elem(&counts, &ip->saddr);
 * cause: if ((void *)(eth + 1) > end)
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
int by_address(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);

    if ((void *)(eth + 1) > end)
        return XDP_PASS;
    __u64 *n = bpf_map_lookup_elem(&counts, &ip->saddr);

    return n ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
