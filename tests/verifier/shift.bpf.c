/*
 * program: shift
 * kind: shift
 * fails: asm volatile("%0 <<= 64" : "+r"(x));
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int shift(struct __sk_buff *skb)
{
    __u64 x = skb->len;

    asm volatile("%0 <<= 64" : "+r"(x));
    return x;
}

char LICENSE[] SEC("license") = "GPL";
