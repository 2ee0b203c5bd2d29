#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

__u16 echo, closed, onward; /* ports */
unsigned char next[6];      /* MAC address of the next host */
__u64 dropped;

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} roads SEC(".maps");

static __always_inline void exchange_macs(struct ethhdr *eth)
{
	unsigned char own[6];

	__builtin_memcpy(own, eth->h_dest, 6);
	__builtin_memcpy(eth->h_dest, eth->h_source, 6);
	__builtin_memcpy(eth->h_source, own, 6);
}

SEC("xdp")
int office(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u16 port;
	__be32 address;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(0x0800))
		return XDP_PASS;
	if ((void *)(ip + 1) > end)
		return XDP_ABORTED;
	if (ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	if ((void *)(udp + 1) > end)
		return XDP_ABORTED;
	port = bpf_ntohs(udp->dest);
	if (port == closed) {
		__sync_fetch_and_add(&dropped, 1);
		return XDP_DROP;
	}
	if (port == echo) {
		exchange_macs(eth);
		address = ip->saddr;
		ip->saddr = ip->daddr;
		ip->daddr = address;
		udp->dest = udp->source;
		udp->source = bpf_htons(port);
		return XDP_TX;
	}
	if (port == onward) {
		exchange_macs(eth);
		__builtin_memcpy(eth->h_dest, next, 6);
		return bpf_redirect_map(&roads, 0, 0);
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
