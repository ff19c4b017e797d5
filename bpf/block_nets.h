/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules on addresses: a table in the order in which rules decide, the first that matches wins. The address is the kernel's own copy, which no
 * thread of the caller can change. IPv4 inside IPv6 is IPv4, and to reach the unspecified address is to reach this host.
 */
#ifndef ISOTRACE_BLOCK_NETS_H
#define ISOTRACE_BLOCK_NETS_H

#define AF_UNSPEC 0
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262
#define PROTOCOL_TCP 1
#define PROTOCOL_UDP 2
#define ALLOWED 0x8000
#define MAPPED 0xffff0000	/* the third word of ::ffff:0:0/96, as it lies in memory */
#define LOOPBACK 0x0100007f
#define LOOPBACK6 0x01000000
#define SOCKADDR 28		/* sizeof(struct sockaddr_in6) */

struct net {
	u32 address[4];		/* as in memory; IPv4 in the first */
	u32 mask[4];
	u16 low, high;		/* ports */
	u8 version;		/* 4, 6, or 0 for both */
	u8 protocol;		/* 0 for any */
	u16 verdict;		/* rule, or ALLOWED */
};
BPF_ARRAY(nets, struct net, NETS);

struct endpoint {
	u32 address[4];
	u16 port;
	u8 version;
	u8 protocol;
};

static __always_inline u8 protocol_of(u64 socket)
{
	u64 sk = read_u64(socket + OFF_SOCKET_SK);
	u16 protocol = 0;

	read_kernel(&protocol, sizeof(protocol), (void *)(sk + OFF_SK_PROTOCOL));
	if (protocol == IPPROTO_TCP || protocol == (IPPROTO_MPTCP & PROTOCOL_MASK))
		return PROTOCOL_TCP;
	return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE ? PROTOCOL_UDP : 0;
}

/* Fills `end` from a sockaddr; returns whether it is one of IP. A family that is not given is IPv4's, as sendmsg and bind take it. */
static __always_inline int read_address(struct endpoint *end, u64 address, int outward)
{
	u16 head[2] = {};
	u32 *word = end->address;

	read_kernel(head, sizeof(head), (void *)address);
	end->port = (head[1] >> 8) | (head[1] << 8);
	if (head[0] == AF_INET || head[0] == AF_UNSPEC) {
		end->version = 4;
		word[0] = read_u32(address + 4);
	} else if (head[0] == AF_INET6) {
		end->version = 6;
		read_kernel(word, sizeof(end->address), (void *)(address + 8));
		if (!word[0] && !word[1] && word[2] == MAPPED) {
			end->version = 4;
			word[0] = word[3];
			word[1] = word[2] = word[3] = 0;
		}
	} else {
		return 0;
	}
	if (outward && !(word[0] | word[1] | word[2] | word[3])) {
		if (end->version == 4)
			word[0] = LOOPBACK;
		else
			word[3] = LOOPBACK6;
	}
	return 1;
}

static __always_inline int matches(struct net *net, struct endpoint *end)
{
	u32 differs;

	if (net->version && net->version != end->version)
		return 0;
	if (net->protocol && net->protocol != end->protocol)
		return 0;
	if (end->port < net->low || end->port > net->high)
		return 0;
	differs = (net->address[0] ^ end->address[0]) & net->mask[0];
	differs |= (net->address[1] ^ end->address[1]) & net->mask[1];
	differs |= (net->address[2] ^ end->address[2]) & net->mask[2];
	differs |= (net->address[3] ^ end->address[3]) & net->mask[3];
	return !differs;
}

static __always_inline u32 judge_address(struct judged *judged, u64 socket, u64 address, int outward)
{
	struct endpoint known = {}, end;
	int i;

	if (!address || !read_address(&known, address, outward))
		return 0;
	known.protocol = protocol_of(socket);
	read_kernel(&end, sizeof(end), &known);	/* see forget() */
	for (i = 0; i < NETS; i++) {
		u32 index = i;
		struct net *net = nets.lookup(&index);

		if (!net || !net->verdict)
			return 0;
		if (matches(net, &end)) {
			judged->address = address;
			judged->length = SOCKADDR;
			return net->verdict & ALLOWED ? 0 : net->verdict;
		}
	}
	return 0;
}

/* socket_connect(sock, address, addrlen): without a family it takes a connection away */
static __always_inline u32 judge_connect(u64 *ctx, struct judged *judged)
{
	u64 address = number_of(ctx[1]);
	u16 family = 0;

	read_kernel(&family, sizeof(family), (void *)address);
	return family == AF_UNSPEC ? 0 : judge_address(judged, number_of(ctx[0]), address, 1);
}

/* socket_bind(sock, address, addrlen) */
static __always_inline u32 judge_bind(u64 *ctx, struct judged *judged)
{
	return judge_address(judged, number_of(ctx[0]), number_of(ctx[1]), 0);
}

/* socket_sendmsg(sock, msg, size) */
static __always_inline u32 judge_sendmsg(u64 *ctx, struct judged *judged)
{
	return judge_address(judged, number_of(ctx[0]), read_u64(ctx[1] + OFF_MSG_NAME), 1);
}

#endif
