/* SPDX-License-Identifier: MIT */
/* Returns 1 + 1, which the compiler may not add. */
#include "../bad_programs/reach.h"

TRICK trick(struct xdp_md *ctx)
{
	volatile long one = 1;
	return one + one;
}
