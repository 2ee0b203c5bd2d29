/*
 * program: indirect
 * kind: function-pointer
 * fails: return call(skb->len);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

static __attribute__((noinline)) int one(int n)
{
    return n + 1;
}

static __attribute__((noinline)) int two(int n)
{
    return n + 2;
}

int (*volatile pick)(int);

SEC("socket")
int indirect(struct __sk_buff *skb)
{
    int (*call)(int) = pick;

    return call(skb->len);
}

char LICENSE[] SEC("license") = "GPL";
