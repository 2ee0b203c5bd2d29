/*
 * program: beyond
 * kind: context-access
 * fails: return *(volatile __u32 *)((char *)ctx + 64);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int beyond(struct xdp_md *ctx)
{
    return *(volatile __u32 *)((char *)ctx + 64);
}

char LICENSE[] SEC("license") = "GPL";
