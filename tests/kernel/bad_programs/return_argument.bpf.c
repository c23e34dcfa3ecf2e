/* SPDX-License-Identifier: MIT */
/* Returns a field of its argument. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	return ctx->rx_queue_index;
}
