/*
 * program: until_empty
 * kind: loop-unbounded
 * fails: while (*(volatile __u64 *)&left > 0) {
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u64 left;

SEC("socket")
int until_empty(struct __sk_buff *skb)
{
    volatile char marks[16] = {};
    __u32 n = 0;

    while (*(volatile __u64 *)&left > 0) {
        marks[n & 15] = 1;
        n += 3;
    }
    return marks[0];
}

char LICENSE[] SEC("license") = "GPL";
