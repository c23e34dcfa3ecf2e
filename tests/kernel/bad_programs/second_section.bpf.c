/* SPDX-License-Identifier: MIT */
/* Holds a second XDP program, for frames in fragments. */
#include "reach.h"

SEC("xdp.frags")
int second(struct xdp_md *ctx)
{
	return XDP_PASS;
}

TRICK trick(struct xdp_md *ctx)
{
	return XDP_PASS;
}
