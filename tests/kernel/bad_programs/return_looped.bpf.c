/* SPDX-License-Identifier: MIT */
/* Counts to the queue's number and returns the count. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	volatile int action = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 16 && i < ctx->rx_queue_index; i++)
		action++;
	return action;
}
