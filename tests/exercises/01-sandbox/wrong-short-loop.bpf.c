// hint: what lies far behind in a packet is not looked at: let the loop go on for all 1514 bytes of the longest packet
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

	for (int i = 14; i < 256; i++) {
		if (data + i + 1 > end)
			break;
		if (data[i] == '\n')
			lines++;
	}
	if (data + 24 > end)
		return XDP_PASS;
	slot = data[23];
	if (slot > 23)
		slot = 23;
	protocols[slot]++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
