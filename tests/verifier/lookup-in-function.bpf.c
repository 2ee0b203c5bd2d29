/*
 * program: length
 * kind: pointer-unchecked
 * fails: *n = *n + by;
 * cause: __u64 *n = bpf_map_lookup_elem(&counts, &key);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

static __attribute__((noinline)) void add(__u64 *n, __u64 by)
{
    *n = *n + by;
}

SEC("tc")
int length(struct __sk_buff *skb)
{
    __u32 key = skb->protocol;
    __u64 *n = bpf_map_lookup_elem(&counts, &key);

    add(n, skb->len);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
