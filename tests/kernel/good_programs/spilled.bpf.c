/* SPDX-License-Identifier: MIT */
/* Returns 2 by way of the stack. */
#include "../bad_programs/reach.h"

TRICK trick(struct xdp_md *ctx)
{
	volatile int action = XDP_PASS;
	return action;
}
