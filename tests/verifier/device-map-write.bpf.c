/*
 * program: f
 * kind: map-readonly
 * fails: *v = 3;
 * cause: __u32 k = 0, *v = bpf_map_lookup_elem(&tx, &k);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_DEVMAP);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u32);
} tx SEC(".maps");
SEC("xdp")
int f(struct xdp_md *ctx)
{
    __u32 k = 0, *v = bpf_map_lookup_elem(&tx, &k);

    if (v)
        *v = 3;
    return bpf_redirect_map(&tx, 0, 0);
}

char LICENSE[] SEC("license") = "GPL";
