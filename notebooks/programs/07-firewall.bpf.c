/* The longest prefix that holds the sender decides; each rule counts what it decided. */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define RULES 16384

struct prefix4 {
	__u32 prefixlen; /* bits that count, from the first on */
	__u8 address[4]; /* in the order of the wire */
};

struct prefix6 {
	__u32 prefixlen;
	__u8 address[16];
};

struct rule {
	__u32 number; /* its place in `hits`; 0 is for packets without a rule */
	__u32 verdict;
};

struct tally {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix4);
	__type(value, struct rule);
} rules4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix6);
	__type(value, struct rule);
} rules6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RULES);
	__type(key, __u32);
	__type(value, struct tally);
} hits SEC(".maps");

static struct rule *rule_for(void *data, void *end)
{
	struct prefix4 sender = {.prefixlen = 32};
	struct prefix6 sender6 = {.prefixlen = 128};
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);

	if (eth->h_proto == bpf_htons(ETH_P_IP) && (void *)(ip + 1) <= end) {
		__builtin_memcpy(sender.address, &ip->saddr, 4);
		return bpf_map_lookup_elem(&rules4, &sender);
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end) {
		__builtin_memcpy(sender6.address, &ip6->saddr, 16);
		return bpf_map_lookup_elem(&rules6, &sender6);
	}
	return NULL;
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct rule *rule;
	struct tally *tally;
	__u32 number;

	if (data + sizeof(struct ethhdr) > end)
		return XDP_PASS;
	rule = rule_for(data, end);
	number = rule ? rule->number : 0;
	tally = bpf_map_lookup_elem(&hits, &number);
	if (tally) {
		tally->packets += 1;
		tally->bytes += end - data;
	}
	return rule ? rule->verdict : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
