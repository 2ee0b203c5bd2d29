/*
 * program: by_value
 * kind: argument-type
 * fails: __u64 *n = bpf_map_lookup_elem(&counts, (void *)key);
 * cause: long key = skb->ifindex;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

SEC("socket")
int by_value(struct __sk_buff *skb)
{
    long key = skb->ifindex;
    __u64 *n = bpf_map_lookup_elem(&counts, (void *)key);

    return n ? 1 : 0;
}

char LICENSE[] SEC("license") = "GPL";
