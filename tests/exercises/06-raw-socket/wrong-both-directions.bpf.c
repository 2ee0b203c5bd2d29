// hint: what the host sends itself is counted, too: a packet socket sees both directions; leave out those whose skb->pkt_type is PACKET_OUTGOING
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define PACKET_OUTGOING 4

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

SEC("socket")
int meter(struct __sk_buff *skb)
{
	__u8 protocol = 0;
	__u16 type = 0;
	__u32 key;
	__u64 *count;

	bpf_skb_load_bytes(skb, 12, &type, sizeof(type));
	if (type == bpf_htons(ETH_P_IP))
		bpf_skb_load_bytes(skb, 14 + 9, &protocol, sizeof(protocol));
	else if (type == bpf_htons(ETH_P_IPV6))
		bpf_skb_load_bytes(skb, 14 + 6, &protocol, sizeof(protocol));
	else
		return 0;
	key = protocol;
	count = bpf_map_lookup_elem(&packets, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 64;
}

char LICENSE[] SEC("license") = "GPL";
