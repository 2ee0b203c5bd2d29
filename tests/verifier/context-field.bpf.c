/*
 * program: no_data
 * kind: context-access
 * fails: return skb->data & 1;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int no_data(struct __sk_buff *skb)
{
    return skb->data & 1;
}

char LICENSE[] SEC("license") = "GPL";
