/*
 * program: start
 * kind: map-member-not-for-type
 * fails: struct job { struct bpf_timer timer; __u64 ran; };
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

SEC("tracepoint/syscalls/sys_enter_openat")
int start(void *ctx)
{
    __u32 zero = 0;
    struct job *job = bpf_map_lookup_elem(&jobs, &zero);

    if (!job)
        return 0;
    bpf_timer_init(&job->timer, &jobs, 1);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
