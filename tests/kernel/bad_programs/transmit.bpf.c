/* SPDX-License-Identifier: MIT */
/* Sends the packet back out. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	return XDP_TX;
}
