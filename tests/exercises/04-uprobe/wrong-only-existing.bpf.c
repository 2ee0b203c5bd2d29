// hint: the map is empty: the first call of a process finds no entry, and has to make one
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} bytes SEC(".maps");

SEC("uprobe")
int asked(struct pt_regs *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u64 size = PT_REGS_PARM2(ctx), *sum = bpf_map_lookup_elem(&bytes, &pid);

	if (sum)
		__sync_fetch_and_add(sum, size);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
