/* SPDX-License-Identifier: MIT */
/* Reads packet bytes by a helper, which is not on the list. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	__u32 word;
	bpf_xdp_load_bytes(ctx, 0, &word, sizeof(word));
	return XDP_PASS;
}
