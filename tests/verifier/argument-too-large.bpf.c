/*
 * program: comm
 * kind: size-beyond
 * fails: bpf_get_current_comm(name, 32);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("raw_tp/sys_enter")
int comm(void *ctx)
{
    char name[16];

    bpf_get_current_comm(name, 32);
    return name[0];
}

char LICENSE[] SEC("license") = "GPL";
