/* SPDX-License-Identifier: MIT */
/* Copies the packet to user space. */
#include "reach.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} events SEC(".maps");

TRICK trick(struct xdp_md *ctx)
{
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU | (64ull << 32), ctx, 0);
	return XDP_PASS;
}
