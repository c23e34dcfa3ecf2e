/* SPDX-License-Identifier: MIT */
/* Looks up a socket to hand the packet to. */
#include "reach.h"

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

TRICK trick(struct xdp_md *ctx)
{
	__u32 queue = 0;
	return bpf_map_lookup_elem(&sockets, &queue) ? XDP_PASS : XDP_PASS;
}
