/*
 * program: maybe_none
 * kind: size-zero
 * fails: bpf_skb_load_bytes(skb, 0, buffer, size);
 * cause: if (size < 64)
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("socket")
int maybe_none(struct __sk_buff *skb)
{
    __u32 size = skb->len;
    char buffer[64];

    if (size < 64)
        bpf_skb_load_bytes(skb, 0, buffer, size);
    return buffer[0];
}

char LICENSE[] SEC("license") = "GPL";
