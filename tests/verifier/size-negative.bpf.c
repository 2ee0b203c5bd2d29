/*
 * program: maybe_negative
 * kind: size-negative
 * fails: bpf_probe_read_kernel(buffer, size, ctx);
 * cause: int size = bpf_get_prandom_u32();
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("raw_tp/sys_enter")
int maybe_negative(void *ctx)
{
    char buffer[64];
    int size = bpf_get_prandom_u32();

    if (size < 64)
        bpf_probe_read_kernel(buffer, size, ctx);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
