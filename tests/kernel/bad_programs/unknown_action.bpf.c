/* SPDX-License-Identifier: MIT */
/* Returns an action that no kernel knows, which drops. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	return 7;
}
