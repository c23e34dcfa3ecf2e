/* SPDX-License-Identifier: MIT */
/* Returns 2 or 3, by the queue. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	return XDP_PASS + (ctx->rx_queue_index & 1);
}
