/*
 * program: filter
 * kind: index-unbounded
 * fails: hist[len / 64]++;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u64 hist[32];
SEC("xdp")
int filter(struct xdp_md *ctx)
{
    __u32 len = ctx->data_end - ctx->data;

    hist[len / 64]++;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
