/*
 * program: open_end
 * kind: no-exit
 * fails: -
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
__attribute__((naked)) int open_end(struct __sk_buff *skb)
{
    asm volatile("r0 = 0");
}

char LICENSE[] SEC("license") = "GPL";
