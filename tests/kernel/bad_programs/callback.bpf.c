/* SPDX-License-Identifier: MIT */
/* Writes a packet byte in a callback. */
#include "reach.h"

static long put(__u32 index, void *argument)
{
	__u8 *byte = PACKET(*(struct xdp_md **)argument, __u8);
	if (byte)
		*byte = 1;
	return 0;
}

TRICK trick(struct xdp_md *ctx)
{
	bpf_loop(1, put, &ctx, 0);
	return XDP_PASS;
}
