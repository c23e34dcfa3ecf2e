/* SPDX-License-Identifier: MIT */
/* Passes the packet. */
#include "../bad_programs/reach.h"

TRICK trick(struct xdp_md *ctx)
{
	return XDP_PASS;
}
