// hint: it is each thread's first call, not its longest: replace the entry when a longer one comes
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} started SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} longest SEC(".maps");

SEC("uprobe")
int enter(struct pt_regs *ctx)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&started, &thread, &now, BPF_ANY);
	return 0;
}

SEC("uretprobe")
int leave(struct pt_regs *ctx)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u64 *start = bpf_map_lookup_elem(&started, &thread), *known, ns;

	if (!start)
		return 0;
	ns = bpf_ktime_get_ns() - *start;
	known = bpf_map_lookup_elem(&longest, &thread);
	if (!known)
		bpf_map_update_elem(&longest, &thread, &ns, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
