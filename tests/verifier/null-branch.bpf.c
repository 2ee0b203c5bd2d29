/*
 * program: upside_down
 * kind: null-dereference
 * fails: *n = 1;
 * cause: -
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
int upside_down(struct __sk_buff *skb)
{
    __u32 key = skb->ifindex;
    volatile __u64 *n = bpf_map_lookup_elem(&counts, &key);

    if (!n)
        *n = 1;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
