/*
 * program: filter
 * kind: map-member-missing
 * fails: bpf_spin_lock((struct bpf_spin_lock *)v);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct v { int n; };
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, struct v);
} counts SEC(".maps");
SEC("xdp")
int filter(struct xdp_md *ctx)
{
    __u32 zero = 0;
    struct v *v = bpf_map_lookup_elem(&counts, &zero);

    if (!v)
        return XDP_PASS;
    bpf_spin_lock((struct bpf_spin_lock *)v);
    v->n++;
    bpf_spin_unlock((struct bpf_spin_lock *)v);
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
