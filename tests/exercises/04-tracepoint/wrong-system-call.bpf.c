// hint: none of the errors that were made is in the map: its key is the number of the error, made from ctx->ret
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u32 watched; /* the process */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} errors SEC(".maps");

SEC("tp/raw_syscalls/sys_exit")
int leave(struct trace_event_raw_sys_exit *ctx)
{
	__u32 number = ctx->id;
	__u64 one = 1, *times;

	if (bpf_get_current_pid_tgid() >> 32 != watched || ctx->ret >= 0)
		return 0;
	times = bpf_map_lookup_elem(&errors, &number);
	if (times)
		__sync_fetch_and_add(times, 1);
	else
		bpf_map_update_elem(&errors, &number, &one, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
