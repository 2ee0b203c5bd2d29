/* One address, several back ends. The table says who is whose; the back ends answer the clients directly. */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_IP 0x0800
#define FRAGMENT 0x3fff /* more to come, or not the first */
#define SLOTS 1021      /* a prime */

__be32 address; /* the one that the clients know */
bool remember;  /* keep a connection where it is, whatever becomes of the table */

struct flow {
	__be32 source;
	__be16 source_port, target_port;
	__u32 protocol;
};

struct backend {
	__u8 mac[6];
	__u16 alive;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow);
	__type(value, __u32);
} connections SEC(".maps");

static __u32 hash(const struct flow *flow)
{
	__u32 h = flow->source * 0x9e3779b1 + (((__u32)flow->source_port << 16) | flow->target_port) + flow->protocol;

	h ^= h >> 16; /* the end of MurmurHash3: every bit has a say in every other */
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	return h ^ h >> 16;
}

static struct backend *choose(struct flow *flow, __u32 *number)
{
	__u32 slot = hash(flow) % SLOTS, *found = NULL;
	struct backend *backend;

	if (remember)
		found = bpf_map_lookup_elem(&connections, flow);
	if (found) {
		*number = *found;
		backend = bpf_map_lookup_elem(&backends, number);
		if (backend && backend->alive)
			return backend;
	}
	found = bpf_map_lookup_elem(&table, &slot);
	if (!found)
		return NULL;
	*number = *found;
	if (remember)
		bpf_map_update_elem(&connections, flow, number, BPF_ANY);
	return bpf_map_lookup_elem(&backends, number);
}

SEC("xdp")
int balance(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct backend *backend;
	struct flow flow = {};
	__be16 *ports;
	__u64 *count;
	__u32 number;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->daddr != address)
		return XDP_PASS;
	if ((ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP) || ip->frag_off & bpf_htons(FRAGMENT))
		return XDP_PASS; /* a fragment has no ports: the kernel may have it */
	ports = (void *)ip + ip->ihl * 4;
	if ((void *)(ports + 2) > end)
		return XDP_DROP;
	flow.source = ip->saddr;
	flow.source_port = ports[0];
	flow.target_port = ports[1];
	flow.protocol = ip->protocol;
	backend = choose(&flow, &number);
	if (!backend || !backend->alive)
		return XDP_DROP;
	count = bpf_map_lookup_elem(&packets, &number);
	if (count)
		++*count;
	__builtin_memcpy(eth->h_source, eth->h_dest, 6);
	__builtin_memcpy(eth->h_dest, backend->mac, 6);
	return XDP_TX;
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS; /* for the other end of a veth, which must expect XDP_TX */
}

char LICENSE[] SEC("license") = "GPL";
