/*
 * program: whole
 * kind: size-unbounded
 * fails: bpf_skb_load_bytes(skb, 0, buffer, skb->len);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int whole(struct __sk_buff *skb)
{
    char buffer[64];

    bpf_skb_load_bytes(skb, 0, buffer, skb->len);
    return buffer[0];
}

char LICENSE[] SEC("license") = "GPL";
