/*
 * program: past_end
 * kind: pointer-arithmetic
 * fails: if (end + 4 > (void *)(long)ctx->data)
 * cause: void *end = (void *)(long)ctx->data_end;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int past_end(struct xdp_md *ctx)
{
    void *end = (void *)(long)ctx->data_end;

    if (end + 4 > (void *)(long)ctx->data)
        return XDP_DROP;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
