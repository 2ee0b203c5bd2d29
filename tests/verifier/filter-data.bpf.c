/*
 * program: filter
 * kind: context-access
 * fails: void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

SEC("socket")
int filter(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > end)
        return 0;
    return eth->h_proto == bpf_htons(0x0800) ? -1 : 0;
}

char LICENSE[] SEC("license") = "GPL";
