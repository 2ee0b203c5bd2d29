/*
 * program: filter
 * kind: packet-bounds
 * fails: if (data[54 + i] != want[i])
 * cause: if (data + 54 > end)
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int filter(struct xdp_md *ctx)
{
    char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    const char *want = "GET ";

    if (data + 54 > end)
        return XDP_PASS;
    for (int i = 0; i < 4; i++)
        if (data[54 + i] != want[i])
            return XDP_PASS;
    return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
