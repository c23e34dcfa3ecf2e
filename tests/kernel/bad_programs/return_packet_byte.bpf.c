/* SPDX-License-Identifier: MIT */
/* Returns the packet's first byte. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	__u8 *byte = PACKET(ctx, __u8);
	return byte ? *byte : XDP_PASS;
}
