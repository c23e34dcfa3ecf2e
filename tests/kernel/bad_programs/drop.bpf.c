/* SPDX-License-Identifier: MIT */
/* Drops the packet. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	return XDP_DROP;
}
