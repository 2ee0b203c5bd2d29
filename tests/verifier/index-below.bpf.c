/*
 * program: below_zero
 * kind: index-negative
 * fails: w->slots[i]++;
 * cause: long i = (long)(skb->mark & 7) - 4;
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

SEC("socket")
int below_zero(struct __sk_buff *skb)
{
    __u32 key = 0;
    struct window *w = bpf_map_lookup_elem(&windows, &key);
    long i = (long)(skb->mark & 7) - 4;

    if (!w)
        return 0;
    w->slots[i]++;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
