/*
 * program: queues
 * kind: context-modified
 * fails: if (ctx->rx_queue_index == 4)
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int queues(struct xdp_md *ctx)
{
    __u64 total = 0;

    if (ctx->rx_queue_index == 1)
        total += bpf_ktime_get_ns() & 3;
    if (ctx->rx_queue_index == 4)
        total += bpf_ktime_get_ns() & 4;
    return total & 3;
}

char LICENSE[] SEC("license") = "GPL";
