// hint: packets passed and were not paid for: two CPUs took the same token; let one at a time to the bucket, with its bpf_spin_lock
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#define ETH_P_IP 0x0800

struct bucket_of_one {
	struct bpf_spin_lock lock;
	__u32 tokens;
	__u64 last; /* when the last token came back */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32);
	__type(value, struct bucket_of_one);
} buckets SEC(".maps");
__u64 interval = 1000 * 1000; /* ns until a token comes back */
__u32 burst = 10;	      /* tokens that a bucket holds */

SEC("xdp")
int limit(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	__u64 now = bpf_ktime_get_ns();
	struct bucket_of_one *bucket, full = {.tokens = burst, .last = now};
	bool enough = true;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	bucket = bpf_map_lookup_elem(&buckets, &ip->saddr);
	if (!bucket) {
		bpf_map_update_elem(&buckets, &ip->saddr, &full, BPF_NOEXIST);
		bucket = bpf_map_lookup_elem(&buckets, &ip->saddr);
	}
	if (!bucket)
		return XDP_PASS;
	if (now > bucket->last) { /* another CPU may have been here with a later now */
		__u64 back = (now - bucket->last) / interval;

		bucket->last += back * interval;
		bucket->tokens = back < burst - bucket->tokens ? bucket->tokens + back : burst;
	}
	enough = bucket->tokens > 0;
	if (enough)
		bucket->tokens--;
	return enough ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
