/* SPDX-License-Identifier: MIT */
/* Deletes an entry, which is not on the list. */
#include "reach.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} entries SEC(".maps");

TRICK trick(struct xdp_md *ctx)
{
	__u32 key = 0;
	bpf_map_delete_elem(&entries, &key);
	return XDP_PASS;
}
