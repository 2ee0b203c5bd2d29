// hint: the map has no room for commands with high numbers: the kernel gets new ones every year, so use a hash, which needs no list of them
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u32 who;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 24);
	__type(key, __u32);
	__type(value, __u64);
} commands SEC(".maps");

SEC("tp/syscalls/sys_enter_bpf")
int count(struct trace_event_raw_sys_enter *ctx)
{
	__u32 command = ctx->args[0];
	__u64 one = 1, *times;

	if (bpf_get_current_pid_tgid() >> 32 != who)
		return 0;
	times = bpf_map_lookup_elem(&commands, &command);
	if (times)
		__sync_fetch_and_add(times, 1);
	else
		bpf_map_update_elem(&commands, &command, &one, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
