/*
 * program: enter
 * kind: context-access
 * fails: int BPF_PROG(enter, struct pt_regs *regs, long id, long more)
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id, long more)
{
    bpf_printk("%ld", more);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
