/* SPDX-License-Identifier: MIT */
/* How the program reaches its trick: directly, behind a branch, in a static or in a global subprogram. */
#ifndef REACH_H
#define REACH_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define DIRECT 0
#define BRANCH 1
#define STATIC 2
#define GLOBAL 3

#if REACH == STATIC
#define TRICK static __attribute__((noinline)) int
#elif REACH == GLOBAL
/* Weak, so that the compiler doesn't look inside. */
#define TRICK __attribute__((noinline, weak)) int
#else
#define TRICK static inline __attribute__((always_inline)) int
#endif

TRICK trick(struct xdp_md *ctx);

SEC("xdp")
int program(struct xdp_md *ctx)
{
#if REACH == BRANCH
	if (ctx->rx_queue_index == 7)
		return XDP_PASS;
#endif
	return trick(ctx);
}

/* The first bytes of the packet, or return. */
#define PACKET(ctx, type)                                                                                              \
	((void *)(long)(ctx)->data + sizeof(type) <= (void *)(long)(ctx)->data_end ? (type *)(long)(ctx)->data : 0)

char _license[] SEC("license") = "GPL";

#endif
