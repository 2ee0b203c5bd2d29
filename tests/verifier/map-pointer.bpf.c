/*
 * program: count
 * kind: map-pointer
 * fails: *seen += 1;
 * cause: __u64 *seen = bpf_map_lookup_elem(&outer, &zero);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct inner {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u64);
} first SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 2);
    __type(key, __u32);
    __array(values, struct inner);
} outer SEC(".maps") = { .values = { &first } };

SEC("xdp")
int count(struct xdp_md *ctx)
{
    __u32 zero = 0;
    __u64 *seen = bpf_map_lookup_elem(&outer, &zero);

    if (seen)
        *seen += 1;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
