/* SPDX-License-Identifier: MIT */
/* Calls itself without end. */
#include "reach.h"

static __attribute__((noinline)) int again(int n)
{
	int action = n > 0 ? again(n - 1) : XDP_PASS;
	asm volatile("" : "+r"(action));
	return action;
}

TRICK trick(struct xdp_md *ctx)
{
	return again(ctx->rx_queue_index);
}
