// hint: other ports were refused as well: only 'closed' is closed
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

__u16 closed = 80;

SEC("cgroup/connect4")
int guard(struct bpf_sock_addr *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
