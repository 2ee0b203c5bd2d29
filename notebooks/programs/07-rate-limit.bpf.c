/* So many packets a second from each source, and no more: a token bucket for each, in the LRU hash `sources`. */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD

__u64 cost = 10 * 1000 * 1000;   /* ns between packets: 100 a second */
__u64 burst = 200 * 1000 * 1000; /* ns that may be used in advance: 20 packets at once */
__u32 bits = 32, bits6 = 64;     /* of an address, that tell sources apart */

struct source {
	__u32 word[4]; /* an IPv4 address is ::ffff:a.b.c.d */
};

struct allowance {
	__u64 full; /* when it will be full of tokens again; in the past: it is full */
	__u64 passed, dropped;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct source);
	__type(value, struct allowance);
} sources SEC(".maps");

struct stripe {
	struct bpf_spin_lock lock; /* an LRU hash cannot hold one, so sources share these */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct stripe);
} stripes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4); /* by verdict */
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

static bool take(struct allowance *bucket, struct bpf_spin_lock *lock, __u64 now)
{
	bool enough;
	__u64 full;

	bpf_spin_lock(lock);
	full = (bucket->full > now ? bucket->full : now) + cost;
	enough = full <= now + burst;
	if (enough)
		bucket->full = full;
	bpf_spin_unlock(lock);
	return enough;
}

static bool find(void *data, void *end, struct source *source)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);

	if ((void *)(eth + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && (void *)(ip + 1) <= end) {
		source->word[2] = bpf_htonl(0xffff);
		source->word[3] = bits ? ip->saddr & bpf_htonl(~0U << ((32 - bits) & 31)) : 0;
		return true;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end) {
		for (__u32 i = 0; i < 4; i++) {
			__u32 left = bits6 > 32 * i ? bits6 - 32 * i : 0;

			source->word[i] = ip6->saddr.in6_u.u6_addr32[i];
			if (left < 32)
				source->word[i] &= left ? bpf_htonl(~0U << ((32 - left) & 31)) : 0;
		}
		return true;
	}
	return false;
}

static struct stripe *stripe_of(const struct source *source)
{
	__u32 mix = source->word[0] ^ source->word[1] ^ source->word[2] ^ source->word[3], slot;

	slot = (mix ^ mix >> 8 ^ mix >> 16 ^ mix >> 24) & 255;
	return bpf_map_lookup_elem(&stripes, &slot);
}

SEC("xdp")
int limit(struct xdp_md *ctx)
{
	struct allowance *bucket, fresh = {};
	struct source source = {};
	struct stripe *stripe;
	__u32 verdict = XDP_PASS;
	__u64 *seen;

	if (!find((void *)(long)ctx->data, (void *)(long)ctx->data_end, &source))
		return XDP_PASS; /* ARP, for one */
	bucket = bpf_map_lookup_elem(&sources, &source);
	if (!bucket) {
		bpf_map_update_elem(&sources, &source, &fresh, BPF_NOEXIST);
		bucket = bpf_map_lookup_elem(&sources, &source);
	}
	stripe = stripe_of(&source);
	if (!bucket || !stripe)
		return XDP_PASS;
	if (!take(bucket, &stripe->lock, bpf_ktime_get_ns()))
		verdict = XDP_DROP;
	__sync_fetch_and_add(verdict == XDP_PASS ? &bucket->passed : &bucket->dropped, 1);
	seen = bpf_map_lookup_elem(&verdicts, &verdict);
	if (seen)
		++*seen;
	return verdict;
}

char LICENSE[] SEC("license") = "GPL";
