/*
 * program: garbage
 * kind: stack-unset
 * fails: return word;
 * cause: volatile __u32 word;
 * without: perfmon
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("cgroup_skb/egress")
int garbage(struct __sk_buff *skb)
{
    volatile __u32 word;

    return word;
}

char LICENSE[] SEC("license") = "GPL";
