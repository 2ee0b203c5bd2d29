/*
 * program: too_much
 * kind: value-bounds
 * fails: bpf_probe_read_kernel(n, 16, ctx);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

SEC("raw_tp/sys_enter")
int too_much(void *ctx)
{
    __u32 key = 0;
    __u64 *n = bpf_map_lookup_elem(&counts, &key);

    if (n)
        bpf_probe_read_kernel(n, 16, ctx);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
