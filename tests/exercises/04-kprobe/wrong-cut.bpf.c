// hint: names are cut: the key has room for 32 bytes, so read as many
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct name { char text[32]; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct name);
	__type(value, __u64);
} deletions SEC(".maps");

SEC("kprobe/do_unlinkat")
int BPF_KPROBE(deleted, int folder, struct filename *wanted)
{
	struct name name = {};
	__u64 one = 1, *times;

	bpf_probe_read_kernel_str(name.text, sizeof(wanted), BPF_CORE_READ(wanted, name));
	times = bpf_map_lookup_elem(&deletions, &name);
	if (times)
		__sync_fetch_and_add(times, 1);
	else
		bpf_map_update_elem(&deletions, &name, &one, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
