/*
 * program: seven
 * kind: return-value
 * fails: return 7;
 * cause: -
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("cgroup/sock_create")
int seven(struct bpf_sock *sk)
{
    return 7;
}

char LICENSE[] SEC("license") = "GPL";
