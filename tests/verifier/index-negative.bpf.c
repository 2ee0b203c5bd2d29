/*
 * program: signed_index
 * kind: index-negative
 * fails: total += w->slots[i];
 * cause: int i = skb->priority;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct window { __u32 slots[8]; };

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct window);
} windows SEC(".maps");

__u64 total;

SEC("socket")
int signed_index(struct __sk_buff *skb)
{
    __u32 key = 0;
    struct window *w = bpf_map_lookup_elem(&windows, &key);
    int i = skb->priority;

    if (!w || i >= 8)
        return 0;
    total += w->slots[i];
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
