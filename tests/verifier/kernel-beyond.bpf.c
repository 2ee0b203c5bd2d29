/*
 * program: past
 * kind: kernel-bounds
 * fails: return ((volatile int *)(task + 1))[4];
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tp_btf/sched_process_exit")
int past(__u64 *ctx)
{
    struct task_struct *task = (void *)ctx[0];

    return ((volatile int *)(task + 1))[4];
}

char LICENSE[] SEC("license") = "GPL";
