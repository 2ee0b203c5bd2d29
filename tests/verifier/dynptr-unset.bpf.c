/*
 * program: unmade
 * kind: dynptr-unset
 * fails: bpf_dynptr_read(&word, sizeof(word), &view, 0, 0);
 * cause: struct bpf_dynptr view;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("raw_tp/sys_enter")
int unmade(void *ctx)
{
    struct bpf_dynptr view;
    __u32 word;

    bpf_dynptr_read(&word, sizeof(word), &view, 0, 0);
    return word;
}

char LICENSE[] SEC("license") = "GPL";
