/*
 * program: odd
 * kind: misaligned
 * fails: asm volatile("*(u32 *)(r10 - 6) = %0" : : "r"(word));
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int odd(struct __sk_buff *skb)
{
    __u64 word = skb->len;

    asm volatile("*(u32 *)(r10 - 6) = %0" : : "r"(word));
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
