/* SPDX-License-Identifier: MIT */
/* Writes into the metadata before the packet. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	__u32 *metadata = (void *)(long)ctx->data_meta;
	if ((void *)(metadata + 1) <= (void *)(long)ctx->data)
		*metadata = 1;
	return XDP_PASS;
}
