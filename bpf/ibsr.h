/* SPDX-License-Identifier: MIT */
/*
 * What the kernel program and its reader share: map keys, map values, limits.
 *
 * This file is the only place where they are written. `deno task layout` compiles it (bpf/layout.c), reads
 * the BTF and writes src/layout.ts. No struct has implicit padding; bpf/ibsr.bpf.c asserts every size.
 */
#ifndef IBSR_H
#define IBSR_H

#include <linux/types.h>

enum ibsr_limit {
	IBSR_PORTS = 65536,   /* slots of a generation in ibsr_settings: one a TCP port */
	IBSR_GENERATIONS = 2, /* complete sets of maps: one is written while the other is read */
	IBSR_VLAN_DEPTH = 2,  /* 802.1Q and 802.1ad tags walked; a third one ends the walk */
	IBSR_EXT_DEPTH = 8,   /* IPv6 extension headers walked */
};

/*
 * Every packet adds to exactly one class, or, when its flags are an unusual combination, to a whole-number
 * combination of classes (see count.h). From the eight sums modulo 2^32 each counter follows:
 *
 *   packets = sum of all          syn  = SYN + SYN_ACK      syn_ack = SYN_ACK
 *   ack = SYN_ACK + ACK_DATA + ACK + RST_ACK + FIN_ACK      handshake_ack = ACK + FIN_ACK
 *   rst = RST + RST_ACK           fin  = FIN_ACK            data = ACK_DATA
 */
enum ibsr_class {
	IBSR_NONE,     /* none of SYN, ACK, RST, FIN; no payload */
	IBSR_SYN,      /* SYN */
	IBSR_SYN_ACK,  /* SYN and ACK */
	IBSR_ACK_DATA, /* ACK, with payload */
	IBSR_ACK,      /* ACK, no payload */
	IBSR_RST,      /* RST */
	IBSR_RST_ACK,  /* RST and ACK */
	IBSR_FIN_ACK,  /* FIN and ACK, no payload */
	IBSR_CLASSES,
};

/* Why a frame was seen and not counted. */
enum ibsr_skip {
	IBSR_NOT_TCP,               /* another protocol: ARP, UDP, ICMP, ... */
	IBSR_OTHER_PORT,            /* TCP to a port that is not monitored */
	IBSR_MALFORMED,             /* a header that is cut short or contradicts itself */
	IBSR_LATER_FRAGMENT,        /* a fragment other than the first: it has no TCP header */
	IBSR_UNKNOWN_ENCAPSULATION, /* TCP may be inside: a third tag, MPLS, PPPoE, a tunnel, ESP */
	IBSR_SKIPS,
};

/* A map key: source address and destination port, both in network order, so that keys sort as bytes. */
struct ibsr_key4 {
	__u8 addr[4];
	__u8 port[2];
	__u8 zero[2];
};

struct ibsr_key6 {
	__u8 addr[16];
	__u8 port[2];
	__u8 zero[2];
};

/* Value of known4_* and known6_*. */
struct ibsr_counters {
	__u64 bytes;
	__u32 class[IBSR_CLASSES];
};

/* Value of syn4_* and syn6_*: sources that have sent nothing but SYNs. */
struct ibsr_syns {
	__u64 bytes;
	__u32 syn;
	__u32 data; /* those of them with payload (TCP Fast Open) */
};

/* Value of totals_*, one a slot: exact, whatever the LRU maps evict. */
struct ibsr_total {
	__u64 bytes;
	__u64 class[IBSR_CLASSES];
	__u64 inserted; /* entries made in any of the generation's LRU maps */
};

/* Value of skipped, one a generation. */
struct ibsr_skipped {
	__u64 packets[IBSR_SKIPS];
};

/*
 * The one value of settings: the generation to write, and each generation's slots by port (0: not monitored). The port
 * is in network order, so that the program takes it as it is in the packet.
 */
struct ibsr_settings {
	__u32 generation;
	__u16 slot[IBSR_GENERATIONS][IBSR_PORTS];
};

#endif
