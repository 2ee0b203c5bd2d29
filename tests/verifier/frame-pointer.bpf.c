/*
 * program: no_frame
 * kind: frame-pointer
 * fails: asm volatile("r10 = 0");
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int no_frame(struct __sk_buff *skb)
{
    asm volatile("r10 = 0");
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
