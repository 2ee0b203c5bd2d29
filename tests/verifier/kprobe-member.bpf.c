/*
 * program: unlinked
 * kind: scalar-dereference
 * fails: bpf_printk("%s", name->name);
 * cause: int BPF_KPROBE(unlinked, int dfd, struct filename *name)
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

SEC("kprobe/do_unlinkat")
int BPF_KPROBE(unlinked, int dfd, struct filename *name)
{
    bpf_printk("%s", name->name);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
