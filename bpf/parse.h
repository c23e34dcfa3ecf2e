/* SPDX-License-Identifier: MIT */
/*
 * Header cursor: Ethernet, VLAN tags, IPv4, IPv6 with extension headers, TCP.
 *
 * Each function checks its bounds, advances the cursor past what it read, and returns the next protocol or a
 * negative skip reason. Nothing here writes to the packet or looks past the TCP header.
 */
#ifndef IBSR_PARSE_H
#define IBSR_PARSE_H

#include <stddef.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ibsr.h"

#define SKIP(reason) (-1 - (int)(reason))

/* A packet as far as the program needs it. */
struct packet {
	__u32 source[4]; /* address as in the frame: one word of IPv4, four of IPv6 */
	__u32 length;    /* of the frame; not filled in by parse_packet() */
	__s64 segment;   /* TCP header and payload, by the IP length; by the frame's where that says 0 (GSO or GRO) */
	__be16 port;     /* destination port */
	__u8 flags;      /* the TCP header's flag byte */
	__u8 payload;    /* 1 if the segment is longer than its header */
	__u8 v6;
};

struct cursor {
	void *at;
	void *end;
	struct xdp_md *ctx;
	__s64 offset; /* of `at` from the frame's start */
};

struct vlan_tag {
	__be16 tci;
	__be16 protocol;
};

struct ext_header {
	__u8 next;
	__u8 length;
	__be16 fragment;
	__u32 rest;
};

struct tcp_header {
	__be16 source;
	__be16 dest;
	__be32 seq;
	__be32 ack;
	__u8 offset; /* in words of 4 bytes, upper half */
	__u8 flags;
	__be16 window;
	__be16 check;
	__be16 urgent;
};

/* Of the whole frame. A call where it may be in several buffers: only for what needs it. */
static __always_inline __s64 frame_length(struct xdp_md *ctx)
{
#ifdef IBSR_FRAGS
	return bpf_xdp_get_buff_len(ctx);
#else
	__u32 length = ctx->data_end - ctx->data;
	barrier_var(length); /* or it becomes several sums, and the verifier walks twice the instructions */
	return length;
#endif
}

/* An EtherType that is none of ours: can TCP be behind it? */
static __always_inline int skip_ethertype(__be16 protocol)
{
	barrier_var(protocol); /* or clang looks for all of these before it looks for IP */
	switch (protocol) {
	case bpf_htons(ETH_P_8021Q):   /* a tag deeper than IBSR_VLAN_DEPTH */
	case bpf_htons(ETH_P_8021AD):
	case bpf_htons(0x9100):        /* pre-standard tags */
	case bpf_htons(0x9200):
	case bpf_htons(ETH_P_MPLS_UC):
	case bpf_htons(ETH_P_MPLS_MC):
	case bpf_htons(ETH_P_PPP_SES):
	case bpf_htons(ETH_P_MACSEC):
	case bpf_htons(ETH_P_BATMAN):
	case bpf_htons(ETH_P_NSH):
	case bpf_htons(0x88e7): /* provider backbone bridging */
	case bpf_htons(ETH_P_TEB):
		return SKIP(IBSR_UNKNOWN_ENCAPSULATION);
	}
	return SKIP(IBSR_NOT_TCP);
}

/* An IP protocol other than TCP: can TCP be inside it? */
static __always_inline int skip_protocol(__u8 protocol)
{
	barrier_var(protocol); /* as above: TCP first */
	switch (protocol) {
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
	case IPPROTO_GRE:
	case IPPROTO_ESP:
	case IPPROTO_AH: /* over IPv4; over IPv6 it is walked */
	case IPPROTO_COMP:
	case IPPROTO_MPLS:
	case 115: /* L2TP */
	case 97:  /* EtherIP */
		return SKIP(IBSR_UNKNOWN_ENCAPSULATION);
	}
	return SKIP(IBSR_NOT_TCP);
}

/* Ethernet and up to IBSR_VLAN_DEPTH tags. Returns the EtherType in network order. */
static __always_inline int parse_ethernet(struct cursor *c)
{
	struct ethhdr *eth = c->at;
	if ((void *)(eth + 1) > c->end)
		return SKIP(IBSR_MALFORMED);
	__be16 protocol = *(__be16 *)(c->at + offsetof(struct ethhdr, h_proto)); /* not byte by byte: ethhdr is packed */
	c->at = eth + 1;
	c->offset += sizeof(*eth);

#pragma clang loop unroll(full)
	for (int depth = 0; depth < IBSR_VLAN_DEPTH; depth++) {
		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		struct vlan_tag *tag = c->at;
		if ((void *)(tag + 1) > c->end)
			return SKIP(IBSR_MALFORMED);
		protocol = tag->protocol;
		c->at = tag + 1;
		c->offset += sizeof(*tag);
	}
	return protocol;
}

/* RFC 791. Returns IPPROTO_TCP. */
static __always_inline int parse_ipv4(struct cursor *c, struct packet *p)
{
	struct iphdr *ip = c->at;
	if ((void *)(ip + 1) > c->end)
		return SKIP(IBSR_MALFORMED);
	__s64 header = ip->ihl * 4, total = bpf_ntohs(ip->tot_len);
	if (!total)
		total = frame_length(c->ctx) - c->offset;
	if (ip->version != 4 || header < (__s64)sizeof(*ip) || total < header)
		return SKIP(IBSR_MALFORMED);
	if (ip->protocol != IPPROTO_TCP)
		return skip_protocol(ip->protocol);
	if (ip->frag_off & bpf_htons(0x1fff))
		return SKIP(IBSR_LATER_FRAGMENT);
	p->source[0] = ip->saddr;
	p->segment = total - header;
	c->at += header;
	c->offset += header;
	return IPPROTO_TCP;
}

/* Is this "next header" value one of the extension headers that are walked? */
static __always_inline int is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
	       next == IPPROTO_FRAGMENT || next == IPPROTO_AH || next == IPPROTO_MH;
}

/* RFC 8200, with RFC 4302 (AH) and RFC 6275 (MH). Returns IPPROTO_TCP. */
static __always_inline int parse_ipv6(struct cursor *c, struct packet *p)
{
	struct ipv6hdr *ip = c->at;
	if ((void *)(ip + 1) > c->end || ip->version != 6)
		return SKIP(IBSR_MALFORMED);
	__s64 payload = bpf_ntohs(ip->payload_len);
	if (!payload)
		payload = frame_length(c->ctx) - c->offset - sizeof(*ip);
	__builtin_memcpy(p->source, &ip->saddr, sizeof(p->source));
	__u8 next = ip->nexthdr;
	c->at = ip + 1;
	c->offset += sizeof(*ip);
	p->segment = payload;
	p->v6 = 1;

	for (int depth = 0; depth < IBSR_EXT_DEPTH && is_extension(next); depth++) {
		struct ext_header *ext = c->at;
		if ((void *)(ext + 1) > c->end)
			return SKIP(IBSR_MALFORMED);
		__s64 length = (ext->length + 1) * 8;
		if (next == IPPROTO_AH)
			length = (ext->length + 2) * 4;
		if (next == IPPROTO_FRAGMENT) {
			if (ext->fragment & bpf_htons(0xfff8)) {
				/* The first fragment alone has the headers; this one says only what it began with. */
				if (ext->next == IPPROTO_TCP || is_extension(ext->next))
					return SKIP(IBSR_LATER_FRAGMENT);
				return skip_protocol(ext->next);
			}
			length = 8;
		}
		next = ext->next;
		c->at += length;
		c->offset += length;
		p->segment -= length;
	}
	if (next == IPPROTO_TCP)
		return IPPROTO_TCP;
	if (is_extension(next)) /* a chain longer than IBSR_EXT_DEPTH */
		return SKIP(IBSR_UNKNOWN_ENCAPSULATION);
	return skip_protocol(next);
}

/* RFC 9293. The whole fixed header must be in the frame and inside the IP length. Returns 0. */
static __always_inline int parse_tcp(struct cursor *c, struct packet *p)
{
	struct tcp_header *tcp = c->at;
	if ((void *)(tcp + 1) > c->end || p->segment < (__s64)sizeof(*tcp))
		return SKIP(IBSR_MALFORMED);
	__s64 header = (tcp->offset >> 4) * 4;
	if (header < (__s64)sizeof(*tcp))
		return SKIP(IBSR_MALFORMED);
	p->port = tcp->dest;
	p->flags = tcp->flags;
	p->payload = p->segment > header;
	return 0;
}

/*
 * Nearly every packet of a service is plain: IPv4 without options, no tag, TCP. One look at the bounds, and no reasons:
 * what is anything else, or not right, is the walk's. Returns its TCP header, or NULL.
 */
static __always_inline struct tcp_header *find_plain(const struct cursor *c)
{
	struct iphdr *ip = c->at + sizeof(struct ethhdr);
	struct tcp_header *tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > c->end || *(__be16 *)(c->at + offsetof(struct ethhdr, h_proto)) != bpf_htons(ETH_P_IP))
		return NULL;
	if (*(__u8 *)ip != 0x45 || ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(0x1fff))
		return NULL;
	if (bpf_ntohs(ip->tot_len) < sizeof(*ip) + sizeof(*tcp) || tcp->offset < sizeof(*tcp) / 4 << 4)
		return NULL;
	return tcp;
}

/* What the walk would have found in it. */
static __always_inline void parse_plain(const struct tcp_header *tcp, struct packet *p)
{
	const struct iphdr *ip = (void *)tcp - sizeof(*ip);
	p->source[0] = ip->saddr;
	p->segment = bpf_ntohs(ip->tot_len) - sizeof(*ip);
	p->port = tcp->dest;
	p->flags = tcp->flags;
	p->payload = p->segment > (tcp->offset >> 4) * 4;
}

/* The whole walk. Returns 0 with `p` filled, or a skip reason. */
static __always_inline int parse_packet(struct cursor *c, struct packet *p)
{
	int next = parse_ethernet(c);
	if (next < 0)
		return next;
	if (next == bpf_htons(ETH_P_IP))
		next = parse_ipv4(c, p);
	else if (next == bpf_htons(ETH_P_IPV6))
		next = parse_ipv6(c, p);
	else
		next = skip_ethertype(next);
	if (next < 0)
		return next;
	return parse_tcp(c, p);
}

#endif
