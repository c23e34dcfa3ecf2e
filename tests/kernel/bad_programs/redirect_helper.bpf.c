/* SPDX-License-Identifier: MIT */
/* Names an interface to redirect to, and passes. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	bpf_redirect(1, 0);
	return XDP_PASS;
}
