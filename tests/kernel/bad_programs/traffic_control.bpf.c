/* SPDX-License-Identifier: MIT */
/* Holds a program for another hook. */
#include "reach.h"

SEC("tc")
int drop(struct __sk_buff *skb)
{
	return 2;
}

TRICK trick(struct xdp_md *ctx)
{
	return XDP_PASS;
}
