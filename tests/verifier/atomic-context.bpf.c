/*
 * program: mark
 * kind: atomic
 * fails: __sync_fetch_and_add(&skb->mark, 1);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tc")
int mark(struct __sk_buff *skb)
{
    __sync_fetch_and_add(&skb->mark, 1);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
