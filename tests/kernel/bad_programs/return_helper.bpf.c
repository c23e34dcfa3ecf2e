/* SPDX-License-Identifier: MIT */
/* Returns what a helper returned. */
#include "reach.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} counts SEC(".maps");

TRICK trick(struct xdp_md *ctx)
{
	__u32 key = 0, value = 0;
	return bpf_map_update_elem(&counts, &key, &value, BPF_ANY);
}
