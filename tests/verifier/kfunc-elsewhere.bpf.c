/*
 * program: not_here
 * kind: kfunc-not-for-type
 * fails: tcp_slow_start(0, 1);
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

extern __u32 tcp_slow_start(struct tcp_sock *tp, __u32 acked) __ksym;

SEC("tc")
int not_here(struct __sk_buff *skb)
{
    tcp_slow_start(0, 1);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
