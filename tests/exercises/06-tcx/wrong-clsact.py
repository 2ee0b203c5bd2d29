# hint: program 'guard' is not a tcx program of this interface: filters of clsact come only after the whole row of tcx; use attach_tcx
TEXT = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

__u16 unwanted;
__u64 passed;

SEC("tc")
int guard(struct __sk_buff *skb)
{
	__u8 protocol = 0;
	__u16 port = 0;

	bpf_skb_load_bytes(skb, 14 + 9, &protocol, sizeof(protocol));
	bpf_skb_load_bytes(skb, 14 + 20 + 2, &port, sizeof(port));
	if (protocol == IPPROTO_UDP && port == bpf_htons(unwanted))
		return TCX_DROP;
	return TCX_NEXT;
}

SEC("tc")
int meter(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&passed, 1);
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
"""


def answer(lab, dev, port):
    obj = lab.load(TEXT, unwanted=port)
    obj.programs["meter"].attach_tc(dev)
    obj.programs["guard"].attach_tc(dev)
    return obj
