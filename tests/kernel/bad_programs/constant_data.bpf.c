/* SPDX-License-Identifier: MIT */
/* Returns a constant that the loader may set. */
#include "reach.h"

const volatile int action = XDP_PASS;

TRICK trick(struct xdp_md *ctx)
{
	return action;
}
