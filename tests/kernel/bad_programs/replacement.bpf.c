/* SPDX-License-Identifier: MIT */
/* Holds a program that replaces another program's function. */
#include "reach.h"

SEC("freplace/xdp_filter")
int filter(struct xdp_md *ctx)
{
	return XDP_DROP;
}

TRICK trick(struct xdp_md *ctx)
{
	return XDP_PASS;
}
