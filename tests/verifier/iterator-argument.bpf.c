/*
 * program: dump
 * kind: pointer-unchecked
 * fails: BPF_SEQ_PRINTF(ctx->meta->seq, "%u\n", map->id);
 * cause: struct bpf_map *map = ctx->map;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

SEC("iter/bpf_map")
int dump(struct bpf_iter__bpf_map *ctx)
{
    struct bpf_map *map = ctx->map;

    BPF_SEQ_PRINTF(ctx->meta->seq, "%u\n", map->id);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
