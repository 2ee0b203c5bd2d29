/*
 * program: show
 * kind: scalar-dereference
 * fails: if (filename[0] == '/')
 * cause: char *filename = (char *)ctx->args[0];
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tracepoint/syscalls/sys_enter_execve")
int show(struct trace_event_raw_sys_enter *ctx)
{
    char *filename = (char *)ctx->args[0];

    if (filename[0] == '/')
        bpf_printk("absolute");
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
