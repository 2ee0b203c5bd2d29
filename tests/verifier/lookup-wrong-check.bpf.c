/*
 * program: total
 * kind: pointer-unchecked
 * fails: return *second;
 * cause: second = bpf_map_lookup_elem(&counts, &other);
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
int total(struct __sk_buff *skb)
{
    __u32 key = skb->ifindex, other = key + 1;
    __u64 *first, *second;

    first = bpf_map_lookup_elem(&counts, &key);
    second = bpf_map_lookup_elem(&counts, &other);
    if (!first)
        return 0;
    return *second;
}

char LICENSE[] SEC("license") = "GPL";
