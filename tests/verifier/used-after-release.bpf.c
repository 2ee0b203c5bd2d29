/*
 * program: too_late
 * kind: released
 * fails: return *(volatile int *)e;
 * cause: bpf_ringbuf_submit(e, 0);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("raw_tp/sys_enter")
int too_late(void *ctx)
{
    int *e = bpf_ringbuf_reserve(&events, 8, 0);

    if (!e)
        return 0;
    bpf_ringbuf_submit(e, 0);
    return *(volatile int *)e;
}

char LICENSE[] SEC("license") = "GPL";
