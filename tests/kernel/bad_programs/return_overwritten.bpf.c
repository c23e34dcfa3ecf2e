/* SPDX-License-Identifier: MIT */
/* Spills 2, has a subprogram write 1 over it, and returns what is there. */
#include "reach.h"

static __attribute__((noinline)) void overwrite(long *action)
{
	*(volatile long *)action = XDP_DROP;
}

TRICK trick(struct xdp_md *ctx)
{
	long action = XDP_PASS;
	overwrite(&action);
	return action;
}
