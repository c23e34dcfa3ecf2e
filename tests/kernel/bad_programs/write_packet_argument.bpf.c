/* SPDX-License-Identifier: MIT */
/* Hands a packet pointer to a subprogram that writes through it. */
#include "reach.h"

static __attribute__((noinline)) void put(__u8 *byte)
{
	*(volatile __u8 *)byte = 1;
}

TRICK trick(struct xdp_md *ctx)
{
	__u8 *byte = PACKET(ctx, __u8);
	if (byte)
		put(byte);
	return XDP_PASS;
}
