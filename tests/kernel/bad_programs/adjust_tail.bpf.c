/* SPDX-License-Identifier: MIT */
/* Cuts the packet's end off. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	bpf_xdp_adjust_tail(ctx, -4);
	return XDP_PASS;
}
