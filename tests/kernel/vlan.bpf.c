/* SPDX-License-Identifier: MIT */
/* A VLAN on an interface of a lab: tags what leaves, untags what comes in, behind XDP. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int tag(struct __sk_buff *skb)
{
	bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 7);
	return 0;
}

SEC("tc")
int untag(struct __sk_buff *skb)
{
	bpf_skb_vlan_pop(skb);
	return 0;
}

char _license[] SEC("license") = "GPL";
