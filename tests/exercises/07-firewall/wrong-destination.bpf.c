// hint: the rules were matched against the destination: a firewall for senders looks at the source address
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define MAP(kind, flags, key_type, value_type) struct { \
	__uint(type, BPF_MAP_TYPE_##kind); __uint(max_entries, 1024); __uint(map_flags, flags); \
	__type(key, key_type); __type(value, value_type); }

struct prefix4 { __u32 prefixlen; __u8 address[4]; };
struct prefix6 { __u32 prefixlen; __u8 address[16]; };
struct rule { __u32 number, verdict; };

MAP(LPM_TRIE, BPF_F_NO_PREALLOC, struct prefix4, struct rule) rules4 SEC(".maps");
MAP(LPM_TRIE, BPF_F_NO_PREALLOC, struct prefix6, struct rule) rules6 SEC(".maps");
MAP(PERCPU_ARRAY, 0, __u32, __u64) hits SEC(".maps");

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct prefix4 sender4 = {};
	struct prefix6 sender6 = {};
	struct rule *rule = NULL;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && (void *)(ip + 1) <= end) {
		sender4.prefixlen = 32;
		__builtin_memcpy(sender4.address, &ip->daddr, 4);
		rule = bpf_map_lookup_elem(&rules4, &sender4);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end) {
		sender6.prefixlen = 128;
		__builtin_memcpy(sender6.address, &ip6->daddr, 16);
		rule = bpf_map_lookup_elem(&rules6, &sender6);
	} else {
		return XDP_PASS;
	}
	__u32 number = rule ? rule->number : 0;
	__u64 *hit = bpf_map_lookup_elem(&hits, &number);

	if (hit)
		++*hit;
	return rule ? rule->verdict : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
