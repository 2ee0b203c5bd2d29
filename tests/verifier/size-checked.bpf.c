/*
 * program: filter
 * kind: size-zero
 * fails: bpf_skb_load_bytes(skb, 0, buf, len);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tc")
int filter(struct __sk_buff *skb)
{
    char buf[128];
    __u32 len = skb->len;

    if (len > sizeof(buf))
        len = sizeof(buf);
    bpf_skb_load_bytes(skb, 0, buf, len);
    return buf[0] == 1;
}

char LICENSE[] SEC("license") = "GPL";
