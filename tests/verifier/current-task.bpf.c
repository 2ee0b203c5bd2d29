/*
 * program: show
 * kind: scalar-dereference
 * fails: bpf_printk("parent %d", task->real_parent->pid);
 * cause: struct task_struct *task = (void *)bpf_get_current_task();
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tracepoint/sched/sched_switch")
int show(void *ctx)
{
    struct task_struct *task = (void *)bpf_get_current_task();

    bpf_printk("parent %d", task->real_parent->pid);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
