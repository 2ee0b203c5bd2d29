/*
 * program: leak
 * kind: pointer-leak
 * fails: *n = (long)skb;
 * cause: -
 * without: perfmon
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

SEC("cgroup_skb/ingress")
int leak(struct __sk_buff *skb)
{
    __u32 key = 0;
    __u64 *n = bpf_map_lookup_elem(&counts, &key);

    if (n)
        *n = (long)skb;
    return 1;
}

char LICENSE[] SEC("license") = "GPL";
