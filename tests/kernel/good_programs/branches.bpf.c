/* SPDX-License-Identifier: MIT */
/* Returns 2 whichever way it goes. */
#include "../bad_programs/reach.h"

TRICK trick(struct xdp_md *ctx)
{
	volatile int action = XDP_DROP;
	if (ctx->rx_queue_index & 1)
		action = XDP_PASS;
	else
		action = XDP_ABORTED + 2;
	return action;
}
