/*
 * program: prepend
 * kind: packet-stale
 * fails: eth->h_proto = 0;
 * cause: bpf_xdp_adjust_head(ctx, -4);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int prepend(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > end)
        return XDP_PASS;
    bpf_xdp_adjust_head(ctx, -4);
    eth->h_proto = 0;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
