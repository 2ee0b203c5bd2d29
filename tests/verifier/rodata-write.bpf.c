/*
 * program: change
 * kind: map-readonly
 * fails: *(volatile __u32 *)&limit = 2;
 * cause: const volatile __u32 limit = 1;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

const volatile __u32 limit = 1;

SEC("socket")
int change(struct __sk_buff *skb)
{
    *(volatile __u32 *)&limit = 2;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
