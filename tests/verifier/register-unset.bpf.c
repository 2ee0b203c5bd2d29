/*
 * program: stray
 * kind: register-unset
 * fails: asm volatile("%0 = r8" : "=r"(x));
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int stray(struct __sk_buff *skb)
{
    long x;

    asm volatile("%0 = r8" : "=r"(x));
    return x;
}

char LICENSE[] SEC("license") = "GPL";
