/* SPDX-License-Identifier: MIT */
/* Reads the packet through a pointer that was on the stack. */
#include "../bad_programs/reach.h"

TRICK trick(struct xdp_md *ctx)
{
	__u8 *volatile byte = PACKET(ctx, __u8);
	__u8 *again = byte;
	volatile __u8 read = again ? *again : 0;
	return XDP_PASS + (read & 0);
}
