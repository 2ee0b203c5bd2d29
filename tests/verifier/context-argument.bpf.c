/*
 * program: shifted
 * kind: context-modified
 * fails: bpf_skb_pull_data((void *)skb + 8, 4);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tc")
int shifted(struct __sk_buff *skb)
{
    bpf_skb_pull_data((void *)skb + 8, 4);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
