/* SPDX-License-Identifier: MIT */
/* Returns what user space has put into a map. */
#include "reach.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, int);
} actions SEC(".maps");

TRICK trick(struct xdp_md *ctx)
{
	__u32 zero = 0;
	int *action = bpf_map_lookup_elem(&actions, &zero);
	return action ? *action : XDP_PASS;
}
