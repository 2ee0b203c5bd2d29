/*
 * program: at_end
 * kind: pointer-kind
 * fails: return *end;
 * cause: __u8 *end = (void *)(long)skb->data_end;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tc")
int at_end(struct __sk_buff *skb)
{
    __u8 *end = (void *)(long)skb->data_end;

    return *end;
}

char LICENSE[] SEC("license") = "GPL";
