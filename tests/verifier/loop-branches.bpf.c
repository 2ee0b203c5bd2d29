/*
 * program: add_up
 * kind: loop-unbounded
 * fails: for (__u32 i = 0; i < length; i++) {
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u32 sum;

SEC("xdp")
int add_up(struct xdp_md *ctx)
{
    __u8 *byte = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    __u32 length = end - byte;

    for (__u32 i = 0; i < length; i++) {
        if (byte + i + 1 > end)
            break;
        sum += byte[i];
    }
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
