/*
 * program: far
 * kind: packet-offset-large
 * fails: return *p ? XDP_DROP : XDP_PASS;
 * cause: __u8 *p = data + skip;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int far(struct xdp_md *ctx)
{
    __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    __u64 skip = ctx->rx_queue_index;

    __u8 *p = data + skip;
    if (p + 1 > end)
        return XDP_PASS;
    return *p ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
