/* SPDX-License-Identifier: MIT */
/* Writes packet bytes by a helper. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	__u32 word = 0;
	bpf_xdp_store_bytes(ctx, 0, &word, sizeof(word));
	return XDP_PASS;
}
