/*
 * program: store
 * kind: helper-not-for-type
 * fails: return bpf_skb_store_bytes(ctx, 0, &zero, 1, 0);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int store(struct xdp_md *ctx)
{
    char zero = 0;

    return bpf_skb_store_bytes(ctx, 0, &zero, 1, 0);
}

char LICENSE[] SEC("license") = "GPL";
