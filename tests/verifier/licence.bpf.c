/*
 * program: peek
 * kind: licence
 * fails: return bpf_probe_read_kernel(&word, sizeof(word), ctx);
 * cause: char LICENSE[] SEC("license") = "Proprietary";
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("raw_tp/sys_enter")
int peek(void *ctx)
{
    __u64 word;

    return bpf_probe_read_kernel(&word, sizeof(word), ctx);
}

char LICENSE[] SEC("license") = "Proprietary";
