/* SPDX-License-Identifier: MIT */
/* Returns 1 by way of the stack. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	volatile int action = XDP_DROP;
	return action;
}
