/*
 * program: sum
 * kind: pointer-arithmetic
 * fails: asm volatile("%0 += %1" : "+r"(p) : "r"(q));
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int sum(struct xdp_md *ctx)
{
    void *p = (void *)(long)ctx->data, *q = ctx;

    asm volatile("%0 += %1" : "+r"(p) : "r"(q));
    return *(char *)p;
}

char LICENSE[] SEC("license") = "GPL";
