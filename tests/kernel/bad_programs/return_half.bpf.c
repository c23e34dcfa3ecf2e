/* SPDX-License-Identifier: MIT */
/* Spills 2, overwrites one byte of it, and returns the whole. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	volatile int action = XDP_PASS;
	*(volatile char *)&action = XDP_DROP;
	return action;
}
