/*
 * program: below
 * kind: stack-bounds
 * fails: asm volatile("*(u64 *)(r10 - 520) = %0" : : "r"(word));
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int below(struct __sk_buff *skb)
{
    __u64 word = skb->len;

    asm volatile("*(u64 *)(r10 - 520) = %0" : : "r"(word));
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
