/* SPDX-License-Identifier: MIT */
/* Adds to the packet's first word atomically. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	__u32 *word = PACKET(ctx, __u32);
	if (word)
		__sync_fetch_and_add(word, 1);
	return XDP_PASS;
}
