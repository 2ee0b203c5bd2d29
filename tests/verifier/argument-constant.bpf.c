/*
 * program: any_size
 * kind: argument-constant
 * fails: void *room = bpf_ringbuf_reserve(&events, size, 0);
 * cause: __u64 size = bpf_get_prandom_u32() & 63;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("raw_tp/sys_enter")
int any_size(void *ctx)
{
    __u64 size = bpf_get_prandom_u32() & 63;
    void *room = bpf_ringbuf_reserve(&events, size, 0);

    if (room)
        bpf_ringbuf_discard(room, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
