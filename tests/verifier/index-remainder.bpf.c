/*
 * program: filter
 * kind: index-negative
 * fails: buckets[n]++;
 * cause: __u32 n = bpf_get_prandom_u32() % 9;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int filter(struct xdp_md *ctx)
{
    __u64 buckets[8] = {};
    __u32 n = bpf_get_prandom_u32() % 9;

    buckets[n]++;
    bpf_printk("%d %d", buckets[0], buckets[1]);
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
