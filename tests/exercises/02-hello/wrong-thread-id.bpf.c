// hint: pid holds the number of a thread: the process is the upper half of bpf_get_current_pid_tgid()
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct start {
	__u32 pid;
	char by[16];
	char file[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
	__type(value, struct start);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_execve")
int started(struct trace_event_raw_sys_enter *ctx)
{
	struct start *start = bpf_ringbuf_reserve(&events, sizeof(*start), 0);

	if (!start)
		return 0;
	start->pid = bpf_get_current_pid_tgid();
	bpf_get_current_comm(start->by, sizeof(start->by));
	bpf_probe_read_user_str(start->file, sizeof(start->file), (void *)ctx->args[0]);
	bpf_ringbuf_submit(start, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
