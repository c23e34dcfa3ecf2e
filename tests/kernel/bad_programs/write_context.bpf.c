/* SPDX-License-Identifier: MIT */
/* Writes into the context. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	ctx->rx_queue_index = 0;
	return XDP_PASS;
}
