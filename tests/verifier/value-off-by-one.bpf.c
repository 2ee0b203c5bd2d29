/*
 * program: last
 * kind: value-bounds
 * fails: w->slots[8] = skb->len;
 * cause: -
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
int last(struct __sk_buff *skb)
{
    __u32 key = 0;
    struct window *w = bpf_map_lookup_elem(&windows, &key);

    if (!w)
        return 0;
    w->slots[8] = skb->len;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
