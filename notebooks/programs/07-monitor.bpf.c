/* What arrives at an interface, counted by service and by flow, for each CPU on its own. */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define FRAGMENT 0x1fff /* of an IPv4 packet, where in the whole it belongs */

struct service {
	__u16 ether, protocol, port;
};

struct flow {
	__u8 source[16], target[16]; /* an IPv4 address is ::ffff:a.b.c.d */
	__u16 source_port, target_port, protocol, ether;
};

struct tally {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct service);
	__type(value, struct tally);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow);
	__type(value, struct tally);
} flows SEC(".maps");

__u64 no_room; /* packets of services that did not fit */

static void mapped(__u8 *to, __be32 address)
{
	to[10] = to[11] = 0xff;
	__builtin_memcpy(to + 12, &address, 4);
}

static void identify(void *data, void *end, struct flow *flow)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	__be16 *ports = NULL;

	flow->ether = bpf_ntohs(eth->h_proto);
	if (flow->ether == ETH_P_IP && (void *)(ip + 1) <= end) {
		mapped(flow->source, ip->saddr);
		mapped(flow->target, ip->daddr);
		flow->protocol = ip->protocol;
		if (ip->ihl >= 5 && !(ip->frag_off & bpf_htons(FRAGMENT)))
			ports = (void *)ip + ip->ihl * 4;
	} else if (flow->ether == ETH_P_IPV6 && (void *)(ip6 + 1) <= end) {
		__builtin_memcpy(flow->source, &ip6->saddr, 16);
		__builtin_memcpy(flow->target, &ip6->daddr, 16);
		flow->protocol = ip6->nexthdr;
		ports = (void *)(ip6 + 1);
	}
	if (flow->protocol != IPPROTO_TCP && flow->protocol != IPPROTO_UDP)
		return;
	if (ports && (void *)(ports + 2) <= end) {
		flow->source_port = bpf_ntohs(ports[0]);
		flow->target_port = bpf_ntohs(ports[1]);
	}
}

static bool count(void *map, void *key, __u64 bytes)
{
	struct tally *mine = bpf_map_lookup_elem(map, key), first = {1, bytes};

	if (!mine) /* if another CPU makes it at the same moment, this still sets this CPU's own only */
		return bpf_map_update_elem(map, key, &first, BPF_ANY) == 0;
	mine->packets += 1; /* this CPU's own: no atomic add, no lock */
	mine->bytes += bytes;
	return true;
}

SEC("xdp")
int monitor(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct service service = {};
	struct flow flow = {};

	if (data + sizeof(struct ethhdr) > end)
		return XDP_PASS;
	identify(data, end, &flow);
	service.ether = flow.ether;
	service.protocol = flow.protocol;
	service.port = flow.target_port;
	if (!count(&services, &service, end - data))
		__sync_fetch_and_add(&no_room, 1);
	count(&flows, &flow, end - data);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
