// hint: the verifier refuses program 'guard'
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

__u16 closed = 80;

SEC("cgroup/connect4")
int guard(struct bpf_sock_addr *ctx)
{
	if (ctx->user_port == bpf_htons(closed))
		return -1;
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
