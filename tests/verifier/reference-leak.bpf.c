/*
 * program: forget
 * kind: reference-leak
 * fails: return 0; (2)
 * cause: e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event { __u32 pid; };

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("raw_tp/sys_enter")
int forget(void *ctx)
{
    struct event *e;

    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    if (e->pid == 1)
        return 0;
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
