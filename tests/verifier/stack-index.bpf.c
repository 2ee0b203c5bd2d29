/*
 * program: pick
 * kind: stack-index
 * fails: return buffer[i];
 * cause: __u32 i = skb->len;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int pick(struct __sk_buff *skb)
{
    volatile char buffer[16] = {};
    __u32 i = skb->len;

    return buffer[i];
}

char LICENSE[] SEC("license") = "GPL";
