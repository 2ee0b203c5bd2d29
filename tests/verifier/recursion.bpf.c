/*
 * program: product
 * kind: recursion
 * fails: return factorial(n - 1) * n + 1;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

static __attribute__((noinline)) __u64 factorial(__u64 n)
{
    asm volatile("" : "+r"(n));
    if (n < 2)
        return 1;
    return factorial(n - 1) * n + 1;
}

SEC("socket")
int product(struct __sk_buff *skb)
{
    return factorial(skb->len);
}

char LICENSE[] SEC("license") = "GPL";
