/*
 * program: too_far
 * kind: jump-out
 * fails: asm volatile("goto +100");
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int too_far(struct __sk_buff *skb)
{
    asm volatile("goto +100");
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
