/*
 * program: shorten
 * kind: context-readonly
 * fails: skb->len = 0;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tc")
int shorten(struct __sk_buff *skb)
{
    skb->len = 0;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
