/* SPDX-License-Identifier: MIT */
/* Counts bytes in maps of every allowed type, one of them a map of maps. */
#include "../bad_programs/reach.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sources SEC(".maps");

struct array {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} inner_0 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct array);
} outer SEC(".maps") = {
	.values = { &inner_0 },
};

TRICK trick(struct xdp_md *ctx)
{
	__u32 key = 0, length = ctx->data_end - ctx->data;
	__u64 first = length, *total = bpf_map_lookup_elem(&totals, &key);
	if (total)
		*total += length;
	total = bpf_map_lookup_elem(&sources, &key);
	if (total)
		__sync_fetch_and_add(total, length);
	else
		bpf_map_update_elem(&sources, &key, &first, BPF_NOEXIST);
	void *inner = bpf_map_lookup_elem(&outer, &key);
	if (!inner)
		return XDP_PASS;
	total = bpf_map_lookup_elem(inner, &key);
	if (total)
		*total = length;
	return XDP_PASS;
}
