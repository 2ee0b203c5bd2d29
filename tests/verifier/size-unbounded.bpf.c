/*
 * program: as_long_as_it_takes
 * kind: size-unbounded
 * fails: bpf_probe_read_kernel(buffer, size, ctx);
 * cause: __u64 size = bpf_ktime_get_ns();
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("raw_tp/sys_enter")
int as_long_as_it_takes(void *ctx)
{
    char buffer[64];
    __u64 size = bpf_ktime_get_ns();

    bpf_probe_read_kernel(buffer, size, ctx);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
