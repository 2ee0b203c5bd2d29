/*
 * program: forever
 * kind: loop-endless
 * fails: while (stop == 0)
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int forever(struct __sk_buff *skb)
{
    long stop = 0;

    while (stop == 0)
        asm volatile("" : : "r"(skb));
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
