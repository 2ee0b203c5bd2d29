/*
 * program: start
 * kind: argument-type
 * fails: bpf_timer_init(&timer, &jobs, 1);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct job { struct bpf_timer timer; __u64 ran; };
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct job);
} jobs SEC(".maps");

SEC("tc")
int start(struct __sk_buff *skb)
{
    struct bpf_timer timer;

    bpf_timer_init(&timer, &jobs, 1);
    bpf_timer_start(&timer, 1000000, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
