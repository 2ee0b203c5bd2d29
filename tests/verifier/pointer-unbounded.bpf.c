/*
 * program: anywhere
 * kind: index-negative
 * fails: long shift = bpf_ktime_get_ns() - 5;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int anywhere(struct xdp_md *ctx)
{
    __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    long shift = bpf_ktime_get_ns() - 5;

    __u8 *p = data + shift;
    if (p + 1 > end)
        return XDP_PASS;
    return *p ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
