/*
 * program: bucket
 * kind: index-unbounded
 * fails: histogram[slot]++;
 * cause: __u64 slot = bpf_ktime_get_ns() >> 20;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u64 histogram[64];

SEC("raw_tp/sys_enter")
int bucket(void *ctx)
{
    __u64 slot = bpf_ktime_get_ns() >> 20;

    histogram[slot]++;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
