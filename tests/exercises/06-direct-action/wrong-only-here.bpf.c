// hint: a packet came in from a host that nobody had asked: drop it with TC_ACT_SHOT, unless 'asked' has an entry for it
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define ETH_P_IP 0x0800
#define TC_ACT_UNSPEC (-1)
#define TC_ACT_SHOT 2

struct question {
	__be32 here, there;
	__be16 here_port, there_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct question);
	__type(value, __u8);
} asked SEC(".maps");

static bool read(struct __sk_buff *skb, struct iphdr *ip, struct udphdr *udp)
{
	__u16 type;

	if (bpf_skb_load_bytes(skb, 12, &type, sizeof(type)) || type != bpf_htons(ETH_P_IP))
		return false;
	if (bpf_skb_load_bytes(skb, 14, ip, sizeof(*ip)) || ip->protocol != IPPROTO_UDP)
		return false;
	return bpf_skb_load_bytes(skb, 14 + ip->ihl * 4, udp, sizeof(*udp)) == 0;
}

SEC("tc")
int leaving(struct __sk_buff *skb)
{
	struct iphdr ip;
	struct udphdr udp;
	__u8 yes = 1;

	if (read(skb, &ip, &udp)) {
		struct question question = {
			.here = ip.saddr, .here_port = udp.source,
		};

		bpf_map_update_elem(&asked, &question, &yes, BPF_ANY);
	}
	return TC_ACT_UNSPEC;
}

SEC("tc")
int arriving(struct __sk_buff *skb)
{
	struct iphdr ip;
	struct udphdr udp;

	if (read(skb, &ip, &udp)) {
		struct question question = {
			.here = ip.daddr, .here_port = udp.dest,
		};

		if (!bpf_map_lookup_elem(&asked, &question))
			return TC_ACT_SHOT;
	}
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
