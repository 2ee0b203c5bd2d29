/*
 * program: opened
 * kind: pointer-unchecked
 * fails: bpf_ringbuf_submit(e, 0);
 * cause: __u64 *e = bpf_ringbuf_reserve(&events, 8, 0);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 65536);
} events SEC(".maps");
SEC("tracepoint/syscalls/sys_enter_openat")
int opened(struct trace_event_raw_sys_enter *ctx)
{
    __u64 *e = bpf_ringbuf_reserve(&events, 8, 0);

    if (e)
        *e = 1;
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
