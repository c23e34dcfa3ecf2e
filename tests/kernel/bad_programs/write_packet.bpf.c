/* SPDX-License-Identifier: MIT */
/* Writes a packet byte. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	__u8 *byte = PACKET(ctx, __u8);
	if (byte)
		*byte = 1;
	return XDP_PASS;
}
