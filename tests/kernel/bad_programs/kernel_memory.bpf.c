/* SPDX-License-Identifier: MIT */
/* Reads kernel memory. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	__u64 word;
	bpf_probe_read_kernel(&word, sizeof(word), ctx);
	return XDP_PASS;
}
