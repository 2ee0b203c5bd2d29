/*
 * kind: jump-out
 * fails: -
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
