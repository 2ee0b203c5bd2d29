/*
 * program: swapped
 * kind: argument-type
 * fails: return bpf_skb_load_bytes(buffer, 0, skb, 4);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int swapped(struct __sk_buff *skb)
{
    char buffer[4];

    return bpf_skb_load_bytes(buffer, 0, skb, 4);
}

char LICENSE[] SEC("license") = "GPL";
