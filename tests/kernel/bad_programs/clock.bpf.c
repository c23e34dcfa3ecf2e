/* SPDX-License-Identifier: MIT */
/* Reads the clock: harmless, and not on the list. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	bpf_ktime_get_ns();
	return XDP_PASS;
}
