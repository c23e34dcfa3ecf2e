/* SPDX-License-Identifier: MIT */
/* Declares a map without BTF. */
#include "reach.h"

struct {
	__u32 type, key_size, value_size, max_entries, map_flags;
} old SEC("maps") = { BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0 };

TRICK trick(struct xdp_md *ctx)
{
	__u32 key = 0;
	return bpf_map_lookup_elem(&old, &key) ? XDP_PASS : XDP_PASS;
}
