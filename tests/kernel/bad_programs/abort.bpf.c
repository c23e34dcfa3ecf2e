/* SPDX-License-Identifier: MIT */
/* Aborts. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	return XDP_ABORTED;
}
