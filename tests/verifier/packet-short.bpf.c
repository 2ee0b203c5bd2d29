/*
 * program: udp_only
 * kind: packet-bounds
 * fails: return ip->protocol == 17 ? XDP_DROP : XDP_PASS;
 * cause: if ((void *)(eth + 1) > end)
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int udp_only(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);

    if ((void *)(eth + 1) > end)
        return XDP_PASS;
    return ip->protocol == 17 ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
