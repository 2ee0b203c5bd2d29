// hint: the calls of one thread are counted, not those of the process: the process (tgid) is the upper half of bpf_get_current_pid_tgid()
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u32 who;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} commands SEC(".maps");

SEC("tp/syscalls/sys_enter_bpf")
int count(struct trace_event_raw_sys_enter *ctx)
{
	__u32 command = ctx->args[0];
	__u64 one = 1, *times;

	if ((__u32)bpf_get_current_pid_tgid() != who)
		return 0;
	times = bpf_map_lookup_elem(&commands, &command);
	if (times)
		__sync_fetch_and_add(times, 1);
	else
		bpf_map_update_elem(&commands, &command, &one, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
