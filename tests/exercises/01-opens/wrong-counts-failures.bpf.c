// hint: opens that failed count as opened: openat has failed when its answer, ctx->ret, is below 0
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct pathname { char text[64]; };
struct tally { __u64 opened, failed; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct pathname);
} inside SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct pathname);
	__type(value, struct tally);
} files SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int enter(struct trace_event_raw_sys_enter *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct pathname path = {};

	bpf_probe_read_user_str(path.text, sizeof(path.text), (void *)ctx->args[1]);
	bpf_map_update_elem(&inside, &id, &path, BPF_ANY);
	return 0;
}

SEC("tp/syscalls/sys_exit_openat")
int leave(struct trace_event_raw_sys_exit *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct pathname *path = bpf_map_lookup_elem(&inside, &id);
	struct tally none = {}, *tally;

	if (!path)
		return 0;
	bpf_map_update_elem(&files, path, &none, BPF_NOEXIST);
	tally = bpf_map_lookup_elem(&files, path);
	if (tally)
		__sync_fetch_and_add(&tally->opened, 1);
	bpf_map_delete_elem(&inside, &id);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
