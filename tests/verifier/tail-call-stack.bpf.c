/*
 * program: roomy
 * kind: tail-call-stack
 * fails: -
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} next SEC(".maps");

static __attribute__((noinline)) int leave(struct __sk_buff *skb)
{
    bpf_tail_call(skb, &next, 0);
    return 1;
}

SEC("tc")
int roomy(struct __sk_buff *skb)
{
    volatile char room[300];

    room[skb->len & 255] = 1;
    return leave(skb) + room[0];
}

char LICENSE[] SEC("license") = "GPL";
