// hint: bytes were lost: two CPUs read the same old value and both wrote it back; let one at a time through, with a bpf_spin_lock in the value
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct odometer {
	__u32 bytes;
	__u64 kib;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
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
	if (now->bytes >= 1024) {
		now->bytes -= 1024;
		now->kib++;
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
