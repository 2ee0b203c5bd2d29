/*
 * program: rename
 * kind: kernel-write
 * fails: task->pid = 1;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tp_btf/sched_process_exit")
int rename(__u64 *ctx)
{
    struct task_struct *task = (void *)ctx[0];

    task->pid = 1;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
