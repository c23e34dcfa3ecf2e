/* SPDX-License-Identifier: MIT */
/* Writes into a process's memory. */
#include "reach.h"

TRICK trick(struct xdp_md *ctx)
{
	__u64 word = 0;
	bpf_probe_write_user((void *)4096, &word, sizeof(word));
	return XDP_PASS;
}
