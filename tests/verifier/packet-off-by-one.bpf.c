/*
 * program: first_byte
 * kind: packet-bounds
 * fails: return data[14] == 0x45 ? 0 : 2;
 * cause: if (data + 14 > end)
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tc")
int first_byte(struct __sk_buff *skb)
{
    __u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

    if (data + 14 > end)
        return 0;
    return data[14] == 0x45 ? 0 : 2;
}

char LICENSE[] SEC("license") = "GPL";
