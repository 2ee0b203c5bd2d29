/*
 * program: start
 * kind: global-argument
 * fails: __attribute__((noinline)) int proto(void *data, void *end)
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__attribute__((noinline)) int proto(void *data, void *end)
{
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > end)
        return 0;
    return eth->h_proto;
}

SEC("xdp")
int start(struct xdp_md *ctx)
{
    return proto((void *)(long)ctx->data, (void *)(long)ctx->data_end) == 8 ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
