/*
 * program: only
 * kind: return-unset
 * fails: asm volatile("exit");
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
__attribute__((naked)) int only(struct __sk_buff *skb)
{
    asm volatile("exit");
}

char LICENSE[] SEC("license") = "GPL";
