/*
 * program: forgotten
 * kind: return-unset
 * fails: return result;
 * cause: int result;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int forgotten(struct xdp_md *ctx)
{
    int result;

    return result;
}

char LICENSE[] SEC("license") = "GPL";
