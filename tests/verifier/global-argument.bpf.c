/*
 * program: use
 * kind: pointer-unchecked
 * fails: return p->a + p->b;
 * cause: __attribute__((noinline)) int sum(struct pair *p)
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct pair { __u32 a, b; };

__attribute__((noinline)) int sum(struct pair *p)
{
    return p->a + p->b;
}

SEC("socket")
int use(struct __sk_buff *skb)
{
    struct pair p = { skb->len, skb->hash };

    return sum(&p);
}

char LICENSE[] SEC("license") = "GPL";
