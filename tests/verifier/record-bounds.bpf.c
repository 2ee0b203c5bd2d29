/*
 * program: too_small
 * kind: memory-bounds
 * fails: e->words[4] = 1;
 * cause: struct event *e = bpf_ringbuf_reserve(&events, 16, 0);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event { __u32 words[8]; };

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("raw_tp/sys_enter")
int too_small(void *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, 16, 0);

    if (!e)
        return 0;
    e->words[4] = 1;
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
