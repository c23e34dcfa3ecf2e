/* SPDX-License-Identifier: MIT */
/* Moves the packet's start. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	bpf_xdp_adjust_head(ctx, 4);
	return XDP_PASS;
}
