/*
 * program: parse
 * kind: packet-unchecked
 * fails: if (eth->h_proto == 8)
 * cause: void *data = (void *)(long)ctx->data;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int parse(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    struct ethhdr *eth = data;

    if (eth->h_proto == 8)
        return XDP_DROP;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
