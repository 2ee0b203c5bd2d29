// hint: a per-CPU map keeps one odometer for each CPU; this one is shared, so 'meter' must be a plain array
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct odometer {
	__u32 bytes;
	__u64 kib;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct odometer);
} meter SEC(".maps");

SEC("xdp")
int measure(struct xdp_md *ctx)
{
	__u32 key = 0, length = ctx->data_end - ctx->data;
	struct odometer *now = bpf_map_lookup_elem(&meter, &key);

	if (!now)
		return XDP_PASS;
	now->bytes += length;
	now->kib += now->bytes / 1024;
	now->bytes %= 1024;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
