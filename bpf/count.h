/* SPDX-License-Identifier: MIT */
/*
 * Counting: one packet into one generation's maps.
 *
 * Two LRU maps a family. A source that has sent nothing but SYNs is kept in `syn`; its first other packet makes
 * an entry in `known` and moves the SYNs there. A flood of spoofed SYNs therefore evicts only other such
 * sources, never a client that has answered. The reader adds both maps by key.
 *
 * Nothing is lost on the way: an entry is made with BPF_NOEXIST, so when two CPUs meet the same new source one
 * makes the entry and the other adds to it; and SYNs move by subtracting and adding the same numbers, so the sum
 * over both maps holds at every moment. Sums wrap modulo 2^32 and may pass below zero in between.
 */
#ifndef IBSR_COUNT_H
#define IBSR_COUNT_H

#include "parse.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ADD(where, amount) __sync_fetch_and_add(where, amount)
#define COMBINATION IBSR_CLASSES

/* One of the eight classes, or COMBINATION. */
static __always_inline __u32 classify(const struct packet *p)
{
	switch (p->flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) {
	case TCP_ACK:
		return p->payload ? IBSR_ACK_DATA : IBSR_ACK;
	case TCP_SYN:
		return p->payload ? COMBINATION : IBSR_SYN;
	case TCP_SYN | TCP_ACK:
		return p->payload ? COMBINATION : IBSR_SYN_ACK;
	case TCP_FIN | TCP_ACK:
		return p->payload ? COMBINATION : IBSR_FIN_ACK;
	case TCP_RST:
		return p->payload ? COMBINATION : IBSR_RST;
	case TCP_RST | TCP_ACK:
		return p->payload ? COMBINATION : IBSR_RST_ACK;
	case 0:
		return p->payload ? COMBINATION : IBSR_NONE;
	}
	return COMBINATION;
}

/*
 * The whole numbers by which any packet adds to the classes: the counters' definitions (ibsr.h) solved for the
 * classes. For the flags of a class they are 1 there and 0 elsewhere.
 */
static __always_inline void combine(const struct packet *p, __s32 amount[IBSR_CLASSES])
{
	__s32 syn = !!(p->flags & TCP_SYN), ack = !!(p->flags & TCP_ACK);
	__s32 rst = !!(p->flags & TCP_RST), fin = !!(p->flags & TCP_FIN);
	__s32 data = p->payload, syn_ack = syn & ack;
	__s32 handshake_ack = ack & !syn & !rst & !data;

	amount[IBSR_NONE] = 1 - syn - rst - handshake_ack - data;
	amount[IBSR_SYN] = syn - syn_ack;
	amount[IBSR_SYN_ACK] = syn_ack;
	amount[IBSR_ACK_DATA] = data;
	amount[IBSR_ACK] = handshake_ack - fin;
	amount[IBSR_RST] = rst - ack + syn_ack + handshake_ack + data;
	amount[IBSR_RST_ACK] = ack - syn_ack - handshake_ack - data;
	amount[IBSR_FIN_ACK] = fin;
}

static __always_inline void add_total(struct ibsr_total *total, const struct packet *p, __u32 class)
{
	total->bytes += p->length;
	if (class < IBSR_CLASSES) {
		total->class[class]++;
		return;
	}
	__s32 amount[IBSR_CLASSES];
	combine(p, amount);
#pragma clang loop unroll(full)
	for (int i = 0; i < IBSR_CLASSES; i++)
		total->class[i] += (__s64)amount[i];
}

static __always_inline void add_counters(struct ibsr_counters *counters, const struct packet *p, __u32 class)
{
	ADD(&counters->bytes, p->length);
	if (class < IBSR_CLASSES) {
		ADD(&counters->class[class], 1);
		return;
	}
	__s32 amount[IBSR_CLASSES];
	combine(p, amount);
#pragma clang loop unroll(full)
	for (int i = 0; i < IBSR_CLASSES; i++)
		if (amount[i])
			ADD(&counters->class[i], amount[i]);
}

/* Counts a SYN of a source that is not in `known`. */
static __always_inline void count_syn(void *syns, const void *key, struct ibsr_total *total, const struct packet *p)
{
	struct ibsr_syns *syn = bpf_map_lookup_elem(syns, key);
	if (!syn) {
		struct ibsr_syns first = { .bytes = p->length, .syn = 1, .data = p->payload };
		if (!bpf_map_update_elem(syns, key, &first, BPF_NOEXIST)) {
			total->inserted++;
			return;
		}
		syn = bpf_map_lookup_elem(syns, key);
		if (!syn)
			return; /* full of entries in use: the packet stays in the total alone */
	}
	ADD(&syn->bytes, p->length);
	ADD(&syn->syn, 1);
	if (p->payload)
		ADD(&syn->data, 1);
}

/* Moves what `syn` has counted to the entry just made in `known`. */
static __always_inline void move_syns(struct ibsr_syns *syn, struct ibsr_counters *counters)
{
	__u64 bytes = syn->bytes;
	__u32 syns = syn->syn, data = syn->data;
	ADD(&syn->bytes, -bytes);
	ADD(&syn->syn, -syns);
	ADD(&counters->bytes, bytes);
	ADD(&counters->class[IBSR_SYN], syns);
	if (data) { /* SYN with payload, as combine() has it */
		ADD(&syn->data, -data);
		ADD(&counters->class[IBSR_NONE], -data);
		ADD(&counters->class[IBSR_ACK_DATA], data);
		ADD(&counters->class[IBSR_RST], data);
		ADD(&counters->class[IBSR_RST_ACK], -data);
	}
}

static __always_inline void count(void *totals, void *known, void *syns, const void *key, __u32 slot,
				  const struct packet *p)
{
	struct ibsr_total *total = bpf_map_lookup_elem(totals, &slot);
	if (!total)
		return;
	__u32 class = classify(p);
	add_total(total, p, class);

	struct ibsr_counters *counters = bpf_map_lookup_elem(known, key);
	if (!counters) {
		if ((p->flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) == TCP_SYN) {
			count_syn(syns, key, total, p);
			return;
		}
		struct ibsr_counters none = {};
		int made = !bpf_map_update_elem(known, key, &none, BPF_NOEXIST);
		counters = bpf_map_lookup_elem(known, key);
		if (!counters)
			return; /* full of entries in use: the packet stays in the total alone */
		if (made) {
			total->inserted++;
			struct ibsr_syns *syn = bpf_map_lookup_elem(syns, key);
			if (syn)
				move_syns(syn, counters);
		}
	}
	add_counters(counters, p, class);
}

#endif
