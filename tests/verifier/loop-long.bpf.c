/*
 * program: long_walk
 * kind: loop-long
 * fails: for (__u32 i = 0; i < 500000; i++)
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

volatile __u64 sum;

SEC("socket")
int long_walk(struct __sk_buff *skb)
{
    for (__u32 i = 0; i < 500000; i++)
        sum += i;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
