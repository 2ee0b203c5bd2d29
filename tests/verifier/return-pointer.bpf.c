/*
 * program: address
 * kind: return-value
 * fails: return (long)sk;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("cgroup/sock_create")
int address(struct bpf_sock *sk)
{
    return (long)sk;
}

char LICENSE[] SEC("license") = "GPL";
