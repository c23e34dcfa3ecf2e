/* SPDX-License-Identifier: MIT */
/* Returns its argument itself. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	return (int)(long)ctx;
}
