/* SPDX-License-Identifier: MIT */
/* Returns 2 or 0, by the queue. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	return ctx->rx_queue_index & XDP_PASS;
}
