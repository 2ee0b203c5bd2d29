/*
 * program: twice
 * kind: released
 * fails: bpf_ringbuf_submit(again, 0);
 * cause: bpf_ringbuf_discard(e, 0);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("raw_tp/sys_enter")
int twice(void *ctx)
{
    void *e = bpf_ringbuf_reserve(&events, 8, 0), *again;

    if (!e)
        return 0;
    again = e;
    bpf_ringbuf_discard(e, 0);
    bpf_ringbuf_submit(again, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
