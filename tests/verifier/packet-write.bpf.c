/*
 * program: scrub
 * kind: packet-readonly
 * fails: *data = 0;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("cgroup_skb/ingress")
int scrub(struct __sk_buff *skb)
{
    __u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

    if (data + 1 > end)
        return 1;
    *data = 0;
    return 1;
}

char LICENSE[] SEC("license") = "GPL";
