/*
 * program: nap
 * kind: sleepable
 * fails: bpf_copy_from_user(&word, sizeof(word), (void *)ctx[0]);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tp_btf/sys_enter")
int nap(__u64 *ctx)
{
    __u64 word = 0;

    bpf_copy_from_user(&word, sizeof(word), (void *)ctx[0]);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
