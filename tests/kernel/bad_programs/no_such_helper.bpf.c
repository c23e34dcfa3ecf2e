/* SPDX-License-Identifier: MIT */
/* Calls a helper that no kernel has. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	((long (*)(void))9999)();
	return XDP_PASS;
}
