/* SPDX-License-Identifier: MIT */
/* Overwrites one of two spilled 2s, by the queue, and returns the first. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	volatile long actions[2];
	actions[0] = XDP_PASS;
	actions[1] = XDP_PASS;
	actions[ctx->rx_queue_index & 1] = XDP_DROP;
	return actions[0];
}
