// hint: protocols from 24 on are not counted: each counts, in the last slot
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u64 lines;
__u64 protocols[24];

SEC("xdp")
int measure(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data;
	unsigned char *end = (void *)(long)ctx->data_end;
	__u32 slot;

	for (int i = 14; i < 1514; i++) {
		if (data + i + 1 > end)
			break;
		if (data[i] == '\n')
			lines++;
	}
	if (data + 24 > end)
		return XDP_PASS;
	slot = data[23];
	if (slot > 23)
		return XDP_PASS;
	protocols[slot]++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
