/* SPDX-License-Identifier: MIT */
/* Holds a second XDP program. */
#include "reach.h"

SEC("xdp")
int second(struct xdp_md *ctx)
{
	return XDP_PASS;
}

TRICK trick(struct xdp_md *ctx)
{
	return XDP_PASS;
}
