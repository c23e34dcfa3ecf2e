/* SPDX-License-Identifier: MIT */
/* Writes a packet byte through a pointer that was on the stack. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	__u8 *volatile spilled = (__u8 *)(long)ctx->data;
	__u8 *byte = spilled;
	if (byte + 1 <= (__u8 *)(long)ctx->data_end)
		*byte = 1;
	return XDP_PASS;
}
