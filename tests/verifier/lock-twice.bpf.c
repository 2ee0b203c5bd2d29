/*
 * program: locked
 * kind: lock-twice
 * fails: bpf_spin_lock(&h->lock);
 * cause: bpf_spin_lock(&g->lock);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct guarded { struct bpf_spin_lock lock; __u64 n; };

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct guarded);
} shared SEC(".maps");

SEC("tc")
int locked(struct __sk_buff *skb)
{
    __u32 key = 0;
    struct guarded *g = bpf_map_lookup_elem(&shared, &key);

    if (!g)
        return 0;
    struct guarded *h = bpf_map_lookup_elem(&shared, &key);

    if (!h)
        return 0;
    bpf_spin_lock(&g->lock);
    bpf_spin_lock(&h->lock);
    g->n += h->n;
    bpf_spin_unlock(&h->lock);
    bpf_spin_unlock(&g->lock);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
