/*
 * program: first
 * kind: call-depth
 * fails: LEVEL(eighth, ninth)
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define LEVEL(name, next) \
    static __attribute__((noinline)) int name(int n) \
    { \
        asm volatile("" : "+r"(n)); \
        return next(n) + n; \
    }

static __attribute__((noinline)) int ninth(int n)
{
    asm volatile("" : "+r"(n));
    return n;
}
LEVEL(eighth, ninth)
LEVEL(seventh, eighth)
LEVEL(sixth, seventh)
LEVEL(fifth, sixth)
LEVEL(fourth, fifth)
LEVEL(third, fourth)
LEVEL(second, third)

SEC("socket")
int first(struct __sk_buff *skb)
{
    return second(skb->len);
}

char LICENSE[] SEC("license") = "GPL";
