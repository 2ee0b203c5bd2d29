/*
 * program: put
 * kind: stack-index
 * fails: buffer[i] = 1;
 * cause: if (i <= 16)
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int put(struct __sk_buff *skb)
{
    volatile char buffer[16] = {};
    __u32 i = skb->hash;

    if (i <= 16)
        buffer[i] = 1;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
