/*
 * program: by_queue
 * kind: index-bound-off
 * fails: w->slots[i]++;
 * cause: if (i > 8)
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
int by_queue(struct __sk_buff *skb)
{
    __u32 key = 0, i = skb->queue_mapping;
    struct window *w = bpf_map_lookup_elem(&windows, &key);

    if (!w)
        return 0;
    if (i > 8)
        return 0;
    w->slots[i]++;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
