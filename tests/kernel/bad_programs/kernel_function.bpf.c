/* SPDX-License-Identifier: MIT */
/* Calls a function of the kernel. */
#include "reach.h"

extern void bpf_rcu_read_lock(void) __attribute__((section(".ksyms")));

TRICK trick(struct xdp_md *ctx)
{
	bpf_rcu_read_lock();
	return XDP_PASS;
}
