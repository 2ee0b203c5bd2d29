// hint: a packet to the closed port got through that may not be fragmented: frag_off holds flags too, the offset is its lower 13 bits, in network byte order
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

__u16 closed; /* a UDP port */

SEC("xdp")
int close(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(0x0800) || ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	if (ip->frag_off)
		return XDP_PASS;
	udp = (void *)ip + ip->ihl * 4;
	if ((void *)(udp + 1) > end)
		return XDP_PASS;
	return udp->dest == bpf_htons(closed) ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
