/* SPDX-License-Identifier: MIT */
/*
 * A flood in a test run: gives the frame another IPv4 source each time, and goes on with the program in `target`.
 *
 * BPF_PROG_TEST_RUN runs one and the same frame; a call for each packet would cost more than the packet. The sources are
 * those of a linear congruential generator of full period: none comes twice in 2^32 packets.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} last SEC(".maps");

SEC("xdp.frags")
int flood(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	__u32 first = 0, *source = bpf_map_lookup_elem(&last, &first);
	if (!source || (void *)(ip + 1) > end)
		return XDP_DROP;
	*source = *source * 1664525 + 1013904223;
	ip->saddr = *source;
	bpf_tail_call(ctx, &target, 0);
	return XDP_DROP; /* there was no target: what is measured is nothing */
}

char _license[] SEC("license") = "Dual MIT/GPL";
