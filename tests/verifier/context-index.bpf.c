/*
 * program: nth
 * kind: context-index
 * fails: return ((volatile __u32 *)skb)[i & 3];
 * cause: __u32 i = skb->len;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tc")
int nth(struct __sk_buff *skb)
{
    __u32 i = skb->len;

    return ((volatile __u32 *)skb)[i & 3];
}

char LICENSE[] SEC("license") = "GPL";
