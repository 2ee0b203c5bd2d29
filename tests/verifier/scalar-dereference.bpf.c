/*
 * program: first_letter
 * kind: scalar-dereference
 * fails: return *(volatile char *)ctx->args[1];
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("raw_tp/sys_enter")
int first_letter(struct bpf_raw_tracepoint_args *ctx)
{
    return *(volatile char *)ctx->args[1];
}

char LICENSE[] SEC("license") = "GPL";
