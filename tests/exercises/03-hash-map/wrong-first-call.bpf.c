// hint: each count is one short: the first call finds no entry, and counts as well
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct sender {
	__u32 tgid;
	__u32 signal;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct sender);
	__type(value, __u64);
} signals SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_kill")
int count(struct trace_event_raw_sys_enter *ctx)
{
	struct sender key = {
		.tgid = bpf_get_current_pid_tgid() >> 32,
		.signal = ctx->args[1],
	};
	__u64 zero = 0, *seen = bpf_map_lookup_elem(&signals, &key);

	if (seen)
		__sync_fetch_and_add(seen, 1);
	else
		bpf_map_update_elem(&signals, &key, &zero, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
