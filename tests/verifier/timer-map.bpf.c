/*
 * program: start
 * kind: timer-map
 * fails: bpf_timer_init(&job->timer, &others, 1);
 * cause: struct job *job = bpf_map_lookup_elem(&jobs, &zero);
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
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct job);
} others SEC(".maps");

static int tick(void *map, __u32 *key, struct job *job)
{
    job->ran++;
    return 0;
}

SEC("tc")
int start(struct __sk_buff *skb)
{
    __u32 zero = 0;
    struct job *job = bpf_map_lookup_elem(&jobs, &zero);

    if (!job)
        return 0;
    bpf_timer_init(&job->timer, &others, 1);
    bpf_timer_set_callback(&job->timer, tick);
    bpf_timer_start(&job->timer, 1000000, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
