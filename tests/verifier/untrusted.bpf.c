/*
 * program: hold
 * missing: 6.1
 * kind: pointer-untrusted
 * fails: struct task_struct *held = bpf_task_acquire(task->parent->parent);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

extern struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;

SEC("tp_btf/sched_process_exit")
int hold(__u64 *ctx)
{
    struct task_struct *task = (void *)ctx[0];
    struct task_struct *held = bpf_task_acquire(task->parent->parent);

    if (held)
        bpf_task_release(held);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
