/* SPDX-License-Identifier: MIT */
/* Swaps the packet's addresses, byte by byte. */
#include "reach.h"

#include <linux/if_ether.h>

TRICK trick(struct xdp_md *ctx)
{
	struct ethhdr *header = PACKET(ctx, struct ethhdr);
	if (!header)
		return XDP_PASS;
	for (int i = 0; i < ETH_ALEN; i++) {
		__u8 byte = header->h_dest[i];
		header->h_dest[i] = header->h_source[i];
		header->h_source[i] = byte;
	}
	return XDP_PASS;
}
