/*
 * program: enter
 * kind: pointer-unchecked
 * fails: e->pid = bpf_get_current_pid_tgid() >> 32;
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
int enter(void *ctx)
{
    struct event *e;

    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    e->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
