/*
 * program: slot
 * kind: index-unbounded
 * fails: h->slots[n]++;
 * cause: __u32 key = 0, n = skb->len;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct hist { __u64 slots[12]; };

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct hist);
} hists SEC(".maps");

SEC("tc")
int slot(struct __sk_buff *skb)
{
    __u32 key = 0, n = skb->len;
    struct hist *h = bpf_map_lookup_elem(&hists, &key);

    if (h)
        h->slots[n]++;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
