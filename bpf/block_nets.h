/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules on addresses: a table in the order in which rules decide, the first that matches wins. The address is the kernel's own copy, which no
 * thread of the caller can change. IPv4 inside IPv6 is IPv4.
 *
 * To reach the unspecified address is to reach this host, by an address of the kernel's choosing: the socket's own, or that of its device, and
 * another thread may bind it after the hook. So every rule that denies matches there, and of exceptions those that mean it (addresses.py).
 *
 * Sockets whose destination no hook sees (isotrace/policy/families.py) are refused whole, by a table of kinds.
 */
#ifndef ISOTRACE_BLOCK_NETS_H
#define ISOTRACE_BLOCK_NETS_H

#define AF_UNSPEC 0
#define AF_INET 2
#define AF_INET6 10
#define AF_SMC 43
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_DCCP 33
#define IPPROTO_UDPLITE 136
#define IPPROTO_SMC 256
#define IPPROTO_MPTCP 262
#define PROTOCOL_TCP 1
#define PROTOCOL_UDP 2
#define ALLOWED 0x8000
#define MAPPED 0xffff0000	/* the third word of ::ffff:0:0/96, as it lies in memory */
#define SOCKADDR 28		/* sizeof(struct sockaddr_in6) */
#define KIND_FAMILIES 64	/* as in isotrace/policy/families.py; the last stands for all beyond */
#define KIND_TYPES 16
#define KIND_PROTOCOLS 512
#define ALL_PORTS 0xffff
#define UNSPECIFIED4 1
#define UNSPECIFIED6 2

struct net {
	u32 address[4];		/* as in memory; IPv4 in the first */
	u32 mask[4];
	u16 low, high;		/* ports */
	u8 version;		/* 4, 6, or 0 for both */
	u8 protocol;		/* 0 for any */
	u16 verdict;		/* rule, or ALLOWED */
	u8 unspecified;		/* UNSPECIFIED4, UNSPECIFIED6: matches that as a destination */
	u8 pad[3];
};
BPF_ARRAY(nets, struct net, NETS);

/* The rule that refuses a socket whole, or 0. */
struct socket_kinds {
	u16 families[KIND_FAMILIES];
	u16 ip[KIND_TYPES * KIND_PROTOCOLS];
};
BPF_ARRAY(socket_kinds, struct socket_kinds, 1);

struct endpoint {
	u32 address[4];
	u16 low, high;		/* the port twice; without ports all of them, which a rule on some does not match */
	u8 version;
	u8 protocol;
	u8 unspecified;
	u8 pad;
};

/* What a hook's own pointers point to: their types are the verifier's, so that these are plain loads. */
#define TYPED_U64(address) (*(u64 *)(address))
#define TYPED_U16(address) (*(u16 *)(address))

static __always_inline u32 kind_rule(u64 family, u64 type, u64 protocol)
{
	u32 zero = 0;
	struct socket_kinds *kinds = socket_kinds.lookup(&zero);
	u64 at;

	if (!kinds)
		return NETS_CLOSED;
	if (family >= KIND_FAMILIES)
		family = KIND_FAMILIES - 1;
	if (protocol >= KIND_PROTOCOLS)
		protocol = KIND_PROTOCOLS - 1;
	asm volatile("" : "+r"(family), "+r"(protocol));	/* or the masks below are left out, which the verifier needs */
	if (family != AF_INET && family != AF_INET6)
		return kinds->families[family & (KIND_FAMILIES - 1)];
	at = (type & (KIND_TYPES - 1)) * KIND_PROTOCOLS;
	asm volatile("" : "+r"(at));	/* or the addition becomes an "or", after which the verifier knows no bounds */
	at += protocol & (KIND_PROTOCOLS - 1);
	return kinds->ip[at];
}

/* `sk` is typed; a socket may have none, which the verifier wants to see asked (seen on 6.12 and 7.3) */
#define KIND_RULE(sk) ((sk) ? kind_rule(TYPED_U16((sk) + OFF_SK_FAMILY), TYPED_U16((sk) + OFF_SK_TYPE), TYPED_U16((sk) + OFF_SK_PROTOCOL)) : NETS_CLOSED)

static __always_inline u16 sk_u16(u64 sk, u32 offset)
{
	u16 value = 0;

	read_kernel(&value, sizeof(value), (void *)(sk + offset));
	return value;
}

static __always_inline void set_protocol(struct endpoint *end, u64 sk, u16 port)
{
	u16 protocol = sk_u16(sk, OFF_SK_PROTOCOL);

	end->low = end->high = port;
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP || protocol == IPPROTO_SMC || sk_u16(sk, OFF_SK_FAMILY) == AF_SMC)
		end->protocol = PROTOCOL_TCP;
	else if (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE)
		end->protocol = PROTOCOL_UDP;
	else if (protocol != IPPROTO_DCCP) {
		end->low = 0;
		end->high = ALL_PORTS;
	}
}

static __always_inline void set_unspecified(struct endpoint *end)
{
	u32 *word = end->address;

	if (!(word[0] | word[1] | word[2] | word[3]))
		end->unspecified = end->version == 4 ? UNSPECIFIED4 : UNSPECIFIED6;
}

/* IPv6 in `end` that is IPv4. */
static __always_inline void unmap(struct endpoint *end)
{
	u32 *word = end->address;

	if (word[0] || word[1] || word[2] != MAPPED)
		return;
	end->version = 4;
	word[0] = word[3];
	word[1] = word[2] = word[3] = 0;
}

/* Fills `end` from a sockaddr; returns whether it is one of IP. A family that is not given is IPv4's, as sendmsg and bind take it. */
static __always_inline int read_address(struct endpoint *end, u64 sk, u64 address)
{
	u16 head[2] = {};

	read_kernel(head, sizeof(head), (void *)address);
	if (head[0] == AF_INET || head[0] == AF_UNSPEC) {
		end->version = 4;
		end->address[0] = read_u32(address + 4);
	} else if (head[0] == AF_INET6) {
		end->version = 6;
		read_kernel(end->address, sizeof(end->address), (void *)(address + 8));
		unmap(end);
	} else {
		return 0;
	}
	set_protocol(end, sk, (head[1] >> 8) | (head[1] << 8));
	return 1;
}

static __always_inline int matches(struct net *net, struct endpoint *end)
{
	u32 differs;

	if (net->protocol && net->protocol != end->protocol)
		return 0;
	if (end->low < net->low || end->high > net->high)
		return 0;
	if (end->unspecified)
		return net->unspecified & end->unspecified;
	if (net->version && net->version != end->version)
		return 0;
	differs = (net->address[0] ^ end->address[0]) & net->mask[0];
	differs |= (net->address[1] ^ end->address[1]) & net->mask[1];
	differs |= (net->address[2] ^ end->address[2]) & net->mask[2];
	differs |= (net->address[3] ^ end->address[3]) & net->mask[3];
	return !differs;
}

/* The rule that denies `known`, or 0. */
static __always_inline u32 net_rule(struct endpoint *known)
{
	struct endpoint end;
	int i;

	read_kernel(&end, sizeof(end), known);	/* see forget() */
	for (i = 0; i < NETS; i++) {
		u32 index = i;
		struct net *net = nets.lookup(&index);

		if (!net || !net->verdict)
			return 0;
		if (matches(net, &end))
			return net->verdict & ALLOWED ? 0 : net->verdict;
	}
	return 0;
}

static __always_inline u32 judge_address(struct judged *judged, u64 sk, u64 address, int outward)
{
	struct endpoint end = {};
	u32 rule;

	if (!address || !read_address(&end, sk, address))
		return 0;
	if (outward)
		set_unspecified(&end);
	rule = net_rule(&end);
	if (rule) {
		judged->address = address;
		judged->length = SOCKADDR;
	}
	return rule;
}

/* socket_create(family, type, protocol, kern): the kernel's own sockets serve those that were judged */
static __always_inline u32 judge_create(u64 *ctx, struct judged *judged)
{
	u32 family = number_of(ctx[0]), type = number_of(ctx[1]), protocol = number_of(ctx[2]);	/* a context is read by 64 bits */

	return (u32)number_of(ctx[3]) ? 0 : kind_rule(family, type, protocol);
}

/* socket_connect(sock, address, addrlen): without a family it takes a connection away */
static __always_inline u32 judge_connect(u64 *ctx, struct judged *judged)
{
	u64 sk = TYPED_U64(ctx[0] + OFF_SOCKET_SK), address = number_of(ctx[1]);
	u32 rule = KIND_RULE(sk);
	u16 family = 0;

	if (rule)
		return rule;
	read_kernel(&family, sizeof(family), (void *)address);
	return family == AF_UNSPEC ? 0 : judge_address(judged, number_of(sk), address, 1);
}

/* socket_bind(sock, address, addrlen) */
static __always_inline u32 judge_bind(u64 *ctx, struct judged *judged)
{
	u64 sk = TYPED_U64(ctx[0] + OFF_SOCKET_SK);
	u32 rule = KIND_RULE(sk);

	return rule ? rule : judge_address(judged, number_of(sk), number_of(ctx[1]), 0);
}

/* socket_sendmsg(sock, msg, size) */
static __always_inline u32 judge_sendmsg(u64 *ctx, struct judged *judged)
{
	u64 sk = TYPED_U64(ctx[0] + OFF_SOCKET_SK);
	u32 rule = KIND_RULE(sk);

	return rule ? rule : judge_address(judged, number_of(sk), read_u64(ctx[1] + OFF_MSG_NAME), 1);
}

/*
 * socket_listen(sock, backlog), socket_accept(sock, newsock): by the address that the socket has, all of them where it was not bound. AF_SMC has its
 * own in a socket of the kernel's, whose bind was judged.
 */
static __always_inline u32 judge_listen(u64 *ctx, struct judged *judged)
{
	u64 sk = TYPED_U64(ctx[0] + OFF_SOCKET_SK), known;
	u32 rule = KIND_RULE(sk);
	struct endpoint end = {};
	u16 family;

	if (rule)
		return rule;
	known = number_of(sk);
	family = sk_u16(known, OFF_SK_FAMILY);
	if (family != AF_INET && family != AF_INET6 && family != AF_SMC)
		return 0;
	end.version = family == AF_INET6 ? 6 : 4;
	if (family == AF_INET)
		end.address[0] = read_u32(known + OFF_SK_ADDRESS);
	if (family == AF_INET6) {
		read_kernel(end.address, sizeof(end.address), (void *)(known + OFF_SK_ADDRESS6));
		unmap(&end);
	}
	set_protocol(&end, known, family == AF_SMC ? 0 : sk_u16(known, OFF_SK_PORT));
	return net_rule(&end);
}

/* sctp_bind_connect(sk, optname, address, addrlen): the addresses of a socket option, of which no rule can be sure */
static __always_inline u32 judge_sctp(u64 *ctx, struct judged *judged)
{
	return KIND_RULE(ctx[0]);
}

#endif
