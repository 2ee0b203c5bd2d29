/*
 * program: known
 * kind: reference-leak
 * fails: return sk ? 1 : 0;
 * cause: sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), -1, 0);
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tc")
int known(struct __sk_buff *skb)
{
    struct bpf_sock_tuple tuple = {};
    struct bpf_sock *sk;

    sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), -1, 0);
    return sk ? 1 : 0;
}

char LICENSE[] SEC("license") = "GPL";
