/*
 * program: maze
 * kind: jumps-too-complex
 * fails: MOST MOST MOST MOST MOST MOST MOST MOST MOST
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define FORK asm volatile("if %0 == 1 goto +1; %0 += 3" : "+r"(x));
#define EIGHT FORK FORK FORK FORK FORK FORK FORK FORK
#define MANY EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT
#define MOST MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY

SEC("socket")
int maze(struct __sk_buff *skb)
{
    __u64 x = bpf_ktime_get_ns();

    MOST MOST MOST MOST MOST MOST MOST MOST MOST
    return x;
}

char LICENSE[] SEC("license") = "GPL";
