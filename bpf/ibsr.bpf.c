/* SPDX-License-Identifier: MIT */
/*
 * The XDP program: counts TCP packets by source address and destination port, and always passes the packet.
 *
 * It owns two generations of maps and of slots. `settings` says which is being written. The reader says the other
 * one there, and then updates `grace`, a map of maps that no program uses: the kernel answers that system call only
 * when none runs any more that ran before it (synchronize_rcu, as for every map of maps), so the old generation is
 * read at rest and no count is lost or torn. Ports change the same way, between two intervals. Map sizes are set
 * before load; there is no other input, and no packet byte is kept.
 *
 * The way of a packet that is not counted is kept short, since a host's other ports should cost nothing that can be
 * helped: all settings come by one look-up, and plain packets, which are most, are known by one look at them. That
 * takes 1.5 ns; with a look-up through a map of maps and the whole walk for every packet it took 3.9.
 *
 * Built twice: with IBSR_FRAGS for multi-buffer frames (Linux 5.18), without it for everything older.
 */
#include <linux/bpf.h>

#include "count.h"

#ifdef IBSR_FRAGS
#define SECTION "xdp.frags"
#else
#define SECTION "xdp"
#endif

_Static_assert(sizeof(struct ibsr_key4) == 8, "ibsr_key4");
_Static_assert(sizeof(struct ibsr_key6) == 20, "ibsr_key6");
_Static_assert(sizeof(struct ibsr_counters) == 40, "ibsr_counters");
_Static_assert(sizeof(struct ibsr_syns) == 16, "ibsr_syns");
_Static_assert(sizeof(struct ibsr_total) == 80, "ibsr_total");
_Static_assert(sizeof(struct ibsr_skipped) == 40, "ibsr_skipped");
_Static_assert(sizeof(struct ibsr_settings) == 262148, "ibsr_settings");

/* Sizes of the LRU maps and of totals are set before load; these are the least they can be. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1000);
	__type(key, struct ibsr_key4);
	__type(value, struct ibsr_counters);
} known4_0 SEC(".maps"), known4_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1000);
	__type(key, struct ibsr_key6);
	__type(value, struct ibsr_counters);
} known6_0 SEC(".maps"), known6_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1000);
	__type(key, struct ibsr_key4);
	__type(value, struct ibsr_syns);
} syn4_0 SEC(".maps"), syn4_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1000);
	__type(key, struct ibsr_key6);
	__type(value, struct ibsr_syns);
} syn6_0 SEC(".maps"), syn6_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct ibsr_total);
} totals_0 SEC(".maps"), totals_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, IBSR_GENERATIONS);
	__type(key, __u32);
	__type(value, struct ibsr_skipped);
} skipped SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE); /* the reader swaps generations by a store, not by a copy of all ports */
	__type(key, __u32);
	__type(value, struct ibsr_settings);
} settings SEC(".maps");

struct nothing_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} nothing SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct nothing_map);
} grace SEC(".maps") = {
	.values = { &nothing },
};

static __always_inline void skip(__u32 generation, int reason)
{
	struct ibsr_skipped *skips = bpf_map_lookup_elem(&skipped, &generation);
	if (skips)
		skips->packets[reason]++;
}

SEC(SECTION)
int ibsr(struct xdp_md *ctx)
{
	__u32 first = 0;
	struct ibsr_settings *in_force = bpf_map_lookup_elem(&settings, &first);
	if (!in_force)
		return XDP_PASS;
	__u32 generation = *(volatile __u32 *)&in_force->generation & 1; /* once: it may change at any moment */
	__u16 *slots = in_force->slot[generation];

	struct cursor cursor = { .at = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end, .ctx = ctx };
	struct packet packet = {};
	struct tcp_header *plain = find_plain(&cursor);
	__u32 slot;
	if (plain) {
		slot = slots[plain->dest];
		if (slot)
			parse_plain(plain, &packet);
	} else {
		int reason = parse_packet(&cursor, &packet);
		if (reason < 0) {
			__u32 skipped_as = -1 - reason;
			if (skipped_as < IBSR_SKIPS)
				skip(generation, skipped_as);
			return XDP_PASS;
		}
		slot = slots[packet.port];
	}
	if (!slot) {
		skip(generation, IBSR_OTHER_PORT);
		return XDP_PASS;
	}
	packet.length = frame_length(ctx);

	/*
	 * Keys are made of whole words, as the kernel reads them: it would wait for what is stored in smaller pieces. Map
	 * pointers are constants in each branch, so that the verifier can inline every look-up.
	 */
	__u32 *source = packet.source, port = packet.port;
	if (!packet.v6) {
		__u32 key[sizeof(struct ibsr_key4) / 4] = { source[0], port };
		if (!generation)
			count(&totals_0, &known4_0, &syn4_0, key, slot, &packet);
		else
			count(&totals_1, &known4_1, &syn4_1, key, slot, &packet);
	} else {
		__u32 key[sizeof(struct ibsr_key6) / 4] = { source[0], source[1], source[2], source[3], port };
		if (!generation)
			count(&totals_0, &known6_0, &syn6_0, key, slot, &packet);
		else
			count(&totals_1, &known6_1, &syn6_1, key, slot, &packet);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
