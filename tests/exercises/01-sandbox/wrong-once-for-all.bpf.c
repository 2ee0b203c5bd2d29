// hint: short packets are not looked at: compare with the end at each byte, not once for the longest packet
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

	if (data + 1514 > end)
		goto protocol;
	for (int i = 14; i < 1514; i++) {
		if (data[i] == '\n')
			lines++;
	}
protocol:
	if (data + 24 > end)
		return XDP_PASS;
	slot = data[23];
	if (slot > 23)
		slot = 23;
	protocols[slot]++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
