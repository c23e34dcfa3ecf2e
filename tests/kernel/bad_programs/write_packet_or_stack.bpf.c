/* SPDX-License-Identifier: MIT */
/* Writes through a pointer that is to the packet or to the stack, by the queue. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	volatile __u8 local = 0;
	volatile __u8 *to = &local;
	if (ctx->rx_queue_index & 1) {
		to = PACKET(ctx, __u8);
		if (!to)
			return XDP_PASS;
	}
	asm volatile("" : "+r"(to));
	*to = 1;
	return XDP_PASS;
}
