/*
 * program: dead
 * kind: unreachable
 * fails: asm volatile("r0 = 0; goto +1; r0 = 1; exit" ::: "r0");
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int dead(struct __sk_buff *skb)
{
    asm volatile("r0 = 0; goto +1; r0 = 1; exit" ::: "r0");
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
