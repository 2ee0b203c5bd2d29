/*
 * program: save
 * kind: stack-index
 * fails: if (path[n - 1] == 'x')
 * cause: long n = bpf_probe_read_user_str(path, sizeof(path), (void *)ctx->args[1]);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tracepoint/syscalls/sys_enter_openat")
int save(struct trace_event_raw_sys_enter *ctx)
{
    char path[64] = {};
    long n = bpf_probe_read_user_str(path, sizeof(path), (void *)ctx->args[1]);

    if (path[n - 1] == 'x')
        bpf_printk("ends with x");
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
