/*
 * program: ops
 * kind: pointer-unchecked
 * fails: return sk->family == 2;
 * cause: struct bpf_sock *sk = ctx->sk;
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("sockops")
int ops(struct bpf_sock_ops *ctx)
{
    __u32 port = ctx->local_port;
    struct bpf_sock *sk = ctx->sk;

    return sk->family == 2;
}

char LICENSE[] SEC("license") = "GPL";
