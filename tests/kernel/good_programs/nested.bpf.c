/* SPDX-License-Identifier: MIT */
/* Returns what the innermost of three subprograms returns. */
#include "../bad_programs/reach.h"

static __attribute__((noinline)) int third(volatile int *action)
{
	return *action;
}

static __attribute__((noinline)) int second(volatile int *action)
{
	*action = XDP_PASS;
	return third(action);
}

static __attribute__((noinline)) int first(struct xdp_md *ctx)
{
	volatile int action = ctx->rx_queue_index;
	return second(&action);
}

TRICK trick(struct xdp_md *ctx)
{
	return first(ctx);
}
