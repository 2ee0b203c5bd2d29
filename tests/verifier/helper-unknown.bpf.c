/*
 * program: too_new
 * kind: helper-unknown
 * fails: return future(ctx);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

static long (*future)(void *ctx) = (void *)9999;

SEC("xdp")
int too_new(struct xdp_md *ctx)
{
    return future(ctx);
}

char LICENSE[] SEC("license") = "GPL";
