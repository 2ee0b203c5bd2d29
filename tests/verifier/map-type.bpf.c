/*
 * program: wrong_map
 * kind: map-type
 * fails: bpf_perf_event_output(skb, &counts, BPF_F_CURRENT_CPU, &word, sizeof(word));
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

SEC("tc")
int wrong_map(struct __sk_buff *skb)
{
    __u64 word = skb->len;

    bpf_perf_event_output(skb, &counts, BPF_F_CURRENT_CPU, &word, sizeof(word));
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
