/* SPDX-License-Identifier: MIT */
/* Makes room for metadata. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	bpf_xdp_adjust_meta(ctx, -4);
	return XDP_PASS;
}
