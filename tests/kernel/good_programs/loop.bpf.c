/* SPDX-License-Identifier: MIT */
/* Adds up packet bytes in a loop. */
#include "../bad_programs/reach.h"

TRICK trick(struct xdp_md *ctx)
{
	volatile __u32 sum = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 16; i++) {
		__u8 *byte = (__u8 *)(long)ctx->data + i;
		if (byte + 1 > (__u8 *)(long)ctx->data_end)
			break;
		sum += *byte;
	}
	return XDP_PASS;
}
