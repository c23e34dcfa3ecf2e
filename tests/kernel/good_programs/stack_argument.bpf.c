/* SPDX-License-Identifier: MIT */
/* Has a subprogram write to its stack. */
#include "../bad_programs/reach.h"

static __attribute__((noinline)) void fill(volatile long *numbers)
{
	numbers[0] = XDP_DROP;
}

TRICK trick(struct xdp_md *ctx)
{
	volatile long numbers[2];
	numbers[1] = XDP_PASS;
	fill(numbers);
	return numbers[1];
}
