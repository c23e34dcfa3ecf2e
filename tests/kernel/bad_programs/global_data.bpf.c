/* SPDX-License-Identifier: MIT */
/* Returns a global variable, which is 2 until someone changes it. */
#include "reach.h"

volatile int action = XDP_PASS;

TRICK trick(struct xdp_md *ctx)
{
	return action;
}
