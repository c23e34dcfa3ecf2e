/* SPDX-License-Identifier: MIT */
/* Signals the process that happens to run. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	bpf_send_signal(9);
	return XDP_PASS;
}
