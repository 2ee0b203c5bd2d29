/*
 * program: hope
 * kind: kfunc-unknown
 * fails: return bpf_from_the_future(skb);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

extern int bpf_from_the_future(struct __sk_buff *skb) __ksym __weak;

SEC("tc")
int hope(struct __sk_buff *skb)
{
    return bpf_from_the_future(skb);
}

char LICENSE[] SEC("license") = "GPL";
