/*
 * program: half_set
 * kind: stack-unset
 * fails: __u64 *n = bpf_map_lookup_elem(&seen, &key);
 * cause: struct place key;
 * without: perfmon
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct place { __u64 ifindex, mark; };

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, struct place);
    __type(value, __u64);
} seen SEC(".maps");

SEC("cgroup_skb/ingress")
int half_set(struct __sk_buff *skb)
{
    struct place key;

    key.ifindex = skb->ifindex;
    __u64 *n = bpf_map_lookup_elem(&seen, &key);
    return n ? 1 : 0;
}

char LICENSE[] SEC("license") = "GPL";
