/*
 * program: run
 * kind: global-return
 * fails: __attribute__((noinline)) void fill(char *buf)
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__attribute__((noinline)) void fill(char *buf)
{
    buf[0] = 'x';
    buf[5] = 'y';
}
SEC("xdp")
int run(struct xdp_md *ctx)
{
    char buf[8] = {};

    fill(buf);
    return buf[5] == 'y' ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
