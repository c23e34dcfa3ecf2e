/* SPDX-License-Identifier: MIT */
/* Writes to the kernel's trace. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	char text[] = "x";
	bpf_trace_printk(text, sizeof(text));
	return XDP_PASS;
}
