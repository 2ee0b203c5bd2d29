/*
 * program: init
 * kind: pointer-unchecked
 * fails: *x += 1;
 * cause: x = bpf_map_lookup_elem(&a, &k);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u64);
} a SEC(".maps");
SEC("xdp")
int init(struct xdp_md *ctx)
{
    __u32 k = 1;
    __u64 one = 1;
    __u64 *x = bpf_map_lookup_elem(&a, &k);

    if (!x) {
        bpf_map_update_elem(&a, &k, &one, BPF_ANY);
        x = bpf_map_lookup_elem(&a, &k);
    }
    *x += 1;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
