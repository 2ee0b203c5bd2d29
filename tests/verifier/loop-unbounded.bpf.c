/*
 * program: walk
 * kind: loop-unbounded
 * fails: for (__u32 i = 0; i < end; i++)
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int walk(struct __sk_buff *skb)
{
    volatile char marks[16] = {};
    __u32 end = skb->len;

    for (__u32 i = 0; i < end; i++)
        marks[i & 15] = 1;
    return marks[0];
}

char LICENSE[] SEC("license") = "GPL";
