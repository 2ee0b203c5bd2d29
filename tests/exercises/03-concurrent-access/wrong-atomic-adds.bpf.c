// hint: the carry went wrong: two CPUs saw the same full kibibyte and both carried it; atomic adds guard one number each, the lock must hold both together
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct odometer {
	__u64 bytes;
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
	__sync_fetch_and_add(&now->bytes, length);
	if (now->bytes >= 1024) {
		__sync_fetch_and_add(&now->bytes, -1024);
		__sync_fetch_and_add(&now->kib, 1);
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
