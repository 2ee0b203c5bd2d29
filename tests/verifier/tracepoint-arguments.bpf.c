/*
 * program: sw
 * kind: scalar-dereference
 * fails: bpf_printk("%d", prev->pid);
 * cause: int BPF_PROG(sw, bool preempt, struct task_struct *prev)
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

SEC("tracepoint/sched/sched_switch")
int BPF_PROG(sw, bool preempt, struct task_struct *prev)
{
    bpf_printk("%d", prev->pid);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
