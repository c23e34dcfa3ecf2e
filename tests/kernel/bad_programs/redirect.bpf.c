/* SPDX-License-Identifier: MIT */
/* Redirects, to wherever an earlier program said. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	return XDP_REDIRECT;
}
