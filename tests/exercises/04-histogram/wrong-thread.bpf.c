// hint: the sleeps of one of the two threads are missing: 'watched' is the process, the upper half of bpf_get_current_pid_tgid()
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u32 watched; /* the process */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} started SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, __u64);
} slots SEC(".maps");

/* 0 for 1, 1 for 2 and 3, 2 for 4 to 7, ... */
static __always_inline __u32 log2_of(__u64 n)
{
	__u32 power = 0;

	for (int i = 0; i < 32 && n > 1; i++, n >>= 1)
		power++;
	return power;
}

SEC("tp/syscalls/sys_enter_clock_nanosleep")
int enter(void *ctx)
{
	__u64 both = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
	__u32 thread = both;

	if (thread == watched)
		bpf_map_update_elem(&started, &thread, &now, BPF_ANY);
	return 0;
}

SEC("tp/syscalls/sys_exit_clock_nanosleep")
int leave(void *ctx)
{
	__u32 thread = bpf_get_current_pid_tgid(), slot;
	__u64 *start = bpf_map_lookup_elem(&started, &thread), *count;

	if (!start)
		return 0;
	slot = log2_of((bpf_ktime_get_ns() - *start) / 1000);
	bpf_map_delete_elem(&started, &thread);
	count = bpf_map_lookup_elem(&slots, &slot);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
