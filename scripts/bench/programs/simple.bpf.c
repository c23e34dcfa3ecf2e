/* SPDX-License-Identifier: MIT */
/*
 * What ibsr's program is compared to: the simplest counter that is correct for plain IPv4.
 *
 * Up to eight ports in an array, one LRU hash by source and port, one atomic addition a counter. It knows no VLAN tag,
 * no IPv6, no extension header, keeps no totals, counts nothing that it skips, and can't be read and emptied without
 * losing packets. Never shipped.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORTS 8
#define ADD(where, amount) __sync_fetch_and_add(where, amount)

struct key {
	__be32 source;
	__be16 port;
	__u16 zero;
};

struct counters {
	__u64 packets, bytes, syn, ack, handshake_ack, rst;
};

struct ports {
	__u16 port[PORTS]; /* 0: none */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ports);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1000);
	__type(key, struct key);
	__type(value, struct counters);
} sources SEC(".maps");

SEC("xdp.frags")
int simple(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	struct iphdr *ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_TCP || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
		return XDP_PASS;
	struct tcphdr *tcp = (void *)ip + ip->ihl * 4;
	if ((void *)(tcp + 1) > end)
		return XDP_PASS;

	__u32 first = 0;
	struct ports *monitored = bpf_map_lookup_elem(&ports, &first);
	if (!monitored)
		return XDP_PASS;
	__u16 port = bpf_ntohs(tcp->dest);
	int found = 0;
#pragma clang loop unroll(full)
	for (int i = 0; i < PORTS; i++) {
		if (monitored->port[i] == port) {
			found = 1;
			break;
		}
	}
	if (!found)
		return XDP_PASS;

	struct key key = { .source = ip->saddr, .port = tcp->dest };
	struct counters *counters = bpf_map_lookup_elem(&sources, &key);
	if (!counters) {
		struct counters none = {};
		bpf_map_update_elem(&sources, &key, &none, BPF_NOEXIST);
		counters = bpf_map_lookup_elem(&sources, &key);
		if (!counters)
			return XDP_PASS;
	}
	ADD(&counters->packets, 1);
	ADD(&counters->bytes, end - data);
	if (tcp->syn)
		ADD(&counters->syn, 1);
	if (tcp->rst)
		ADD(&counters->rst, 1);
	if (tcp->ack) {
		ADD(&counters->ack, 1);
		int payload = bpf_ntohs(ip->tot_len) - ip->ihl * 4 - tcp->doff * 4;
		if (!tcp->syn && !tcp->rst && payload <= 0)
			ADD(&counters->handshake_ack, 1);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
