/*
 * program: filter
 * kind: map-no-keys
 * fails: __u32 *v = bpf_map_lookup_elem(&todo, &zero);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 64);
    __type(value, __u32);
} todo SEC(".maps");
SEC("tc")
int filter(struct __sk_buff *skb)
{
    __u32 zero = 0;
    __u32 *v = bpf_map_lookup_elem(&todo, &zero);

    if (v)
        *v = 1;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
