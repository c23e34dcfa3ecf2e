/* SPDX-License-Identifier: MIT */
/* Has a device map inside a map of maps. */
#include "reach.h"

struct device_map {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct device_map);
} outer SEC(".maps");

TRICK trick(struct xdp_md *ctx)
{
	__u32 key = 0;
	void *devices = bpf_map_lookup_elem(&outer, &key);
	return devices ? bpf_redirect_map(devices, 0, XDP_PASS) : XDP_PASS;
}
