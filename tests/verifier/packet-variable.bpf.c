/*
 * program: no_dns
 * kind: packet-offset
 * fails: return udp->dest == 0x3500 ? XDP_DROP : XDP_PASS;
 * cause: struct udphdr *udp = (void *)ip + ip->ihl * 4;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int no_dns(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct iphdr *ip = data + sizeof(struct ethhdr);

    if ((void *)(ip + 1) > end)
        return XDP_PASS;

    struct udphdr *udp = (void *)ip + ip->ihl * 4;

    return udp->dest == 0x3500 ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
