/* SPDX-License-Identifier: MIT */
/* Writes through a packet pointer that a subprogram returned. */
#include "reach.h"

static __attribute__((noinline)) __u8 *find(struct xdp_md *ctx)
{
	return (__u8 *)(long)ctx->data + (ctx->rx_queue_index & 3);
}

TRICK trick(struct xdp_md *ctx)
{
	__u8 *byte = find(ctx);
	if (byte + 1 <= (__u8 *)(long)ctx->data_end)
		*byte = 1;
	return XDP_PASS;
}
