/*
 * program: absolute
 * kind: scalar-dereference
 * fails: return *path == '/';
 * cause: const char *path = (const char *)ctx->args[1];
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
int absolute(struct bpf_raw_tracepoint_args *ctx)
{
    const char *path = (const char *)ctx->args[1];
    __u32 key = bpf_get_current_pid_tgid() >> 32;

    if (!bpf_map_lookup_elem(&counts, &key))
        return 0;
    return *path == '/';
}

char LICENSE[] SEC("license") = "GPL";
