/*
 * program: repeat
 * kind: return-value
 * fails: return 2;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

static long each(__u64 i, void *data)
{
    return 2;
}

SEC("tc")
int repeat(struct __sk_buff *skb)
{
    bpf_loop(10, each, 0, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
