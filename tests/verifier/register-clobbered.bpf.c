/*
 * program: after_call
 * kind: register-clobbered
 * fails: asm volatile("%0 = r2" : "=r"(x));
 * cause: bpf_get_prandom_u32();
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int after_call(struct __sk_buff *skb)
{
    long x;

    asm volatile("r2 = 7" ::: "r2");
    bpf_get_prandom_u32();
    asm volatile("%0 = r2" : "=r"(x));
    return x;
}

char LICENSE[] SEC("license") = "GPL";
