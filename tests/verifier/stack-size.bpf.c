/*
 * program: outer
 * kind: stack-size
 * fails: -
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

static __attribute__((noinline)) int inner(int n)
{
    volatile char room[300];

    room[n & 255] = n;
    return room[0];
}

SEC("socket")
int outer(struct __sk_buff *skb)
{
    volatile char room[300];

    room[skb->len & 255] = 1;
    return inner(skb->len) + room[0];
}

char LICENSE[] SEC("license") = "GPL";
