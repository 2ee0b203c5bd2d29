/*
 * program: collatz
 * kind: loop-unbounded
 * fails: while (n != 1) {
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tc")
int collatz(struct __sk_buff *skb)
{
    __u32 n = skb->len, steps = 0;

    while (n != 1) {
        n = n & 1 ? 3 * n + 1 : n / 2;
        steps++;
    }
    return steps;
}

char LICENSE[] SEC("license") = "GPL";
