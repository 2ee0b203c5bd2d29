/*
 * program: first
 * kind: packet-unchecked
 * fails: return *data ? XDP_PASS : XDP_DROP;
 * cause: if (data >= end)
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int first(struct xdp_md *ctx)
{
    __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

    if (data >= end)
        return XDP_PASS;
    return *data ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
