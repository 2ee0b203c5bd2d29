/*
 * program: missing
 * kind: core-relocation
 * fails: return BPF_CORE_READ(task, not_a_field);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct task_struct___ours { int not_a_field; } __attribute__((preserve_access_index));

SEC("raw_tp/sys_enter")
int missing(void *ctx)
{
    struct task_struct___ours *task = (void *)bpf_get_current_task();

    return BPF_CORE_READ(task, not_a_field);
}

char LICENSE[] SEC("license") = "GPL";
