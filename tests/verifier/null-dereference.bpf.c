/*
 * program: nothing
 * kind: null-dereference
 * fails: return *(volatile __u32 *)0;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int nothing(struct __sk_buff *skb)
{
    return *(volatile __u32 *)0;
}

char LICENSE[] SEC("license") = "GPL";
