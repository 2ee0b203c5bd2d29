// hint: a frame whose EtherType is 0x0008 was taken for IPv4: the EtherType is in network byte order, so compare it with bpf_htons(ETH_P_IP)
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define ETH_P_8021Q 0x8100
#define INTERACTIVE 0x00010010	/* class 1:10 */

SEC("tc")
int classify(struct __sk_buff *skb)
{
	struct tcphdr tcp;
	__u32 at = 14;
	char text[4];
	__u16 type;

	if (bpf_skb_load_bytes(skb, 12, &type, sizeof(type)))
		return 0;
	if (type == bpf_htons(ETH_P_8021Q)) {
		if (bpf_skb_load_bytes(skb, 16, &type, sizeof(type)))
			return 0;
		at += 4;
	}
	if (type == ETH_P_IP) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.protocol != IPPROTO_TCP)
			return 0;
		if (ip.frag_off & bpf_htons(0x1fff))
			return 0;
		at += ip.ihl * 4;
	} else if (type == ETH_P_IPV6) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.nexthdr != IPPROTO_TCP)
			return 0;
		at += sizeof(ip);
	} else {
		return 0;
	}
	if (bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)))
		return 0;
	if (bpf_skb_load_bytes(skb, at + tcp.doff * 4, text, sizeof(text)))
		return 0;
	if (text[0] == 'S' && text[1] == 'S' && text[2] == 'H' && text[3] == '-')
		return INTERACTIVE;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
