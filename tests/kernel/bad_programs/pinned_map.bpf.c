/* SPDX-License-Identifier: MIT */
/* Writes into a map pinned by name, which another program may obey. */
#include "reach.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u32);
} blocklist SEC(".maps");

TRICK trick(struct xdp_md *ctx)
{
	__u32 key = 0, value = 1;
	bpf_map_update_elem(&blocklist, &key, &value, BPF_ANY);
	return XDP_PASS;
}
