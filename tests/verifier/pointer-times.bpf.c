/*
 * program: twice
 * kind: pointer-arithmetic
 * fails: asm volatile("%0 *= 2" : "+r"(p));
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int twice(struct xdp_md *ctx)
{
    void *p = (void *)(long)ctx->data;

    asm volatile("%0 *= 2" : "+r"(p));
    return *(char *)p;
}

char LICENSE[] SEC("license") = "GPL";
