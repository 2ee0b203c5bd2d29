/*
 * program: divide
 * kind: division-by-zero
 * fails: asm volatile("%0 /= 0" : "+r"(x));
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int divide(struct __sk_buff *skb)
{
    __u64 x = skb->len;

    asm volatile("%0 /= 0" : "+r"(x));
    return x;
}

char LICENSE[] SEC("license") = "GPL";
