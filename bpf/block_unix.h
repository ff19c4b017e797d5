/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules on unix sockets, by what the other socket was bound to: a file, which is judged by its place (block_paths.h), or an abstract name, by a
 * DFA over its bytes. Both are the kernel's own; it has found the other socket already, so no spelling, link or thread of the caller matters.
 * A bind to a file is judged where the file is made (path_mknod), one to an abstract name at socket_bind.
 *
 * Constants: UNIX_REST: the rule that denies what no other one decides, or 0; UNIX_CLOSED: the one that answers for what cannot be judged;
 * UNIX_CHOSEN: the one that denies a name of the kernel's choosing, or 0; NAME_STATES: there are rules on abstract names, a power of two; UNIX_DEEP:
 * whether an exception names what is deeper in directories that it does not name.
 */
#ifndef ISOTRACE_BLOCK_UNIX_H
#define ISOTRACE_BLOCK_UNIX_H

#define AF_UNIX 1
#define FAMILY_BYTES 2		/* a sockaddr_un of this length asks the kernel to choose an abstract name (unix(7), "autobind") */
#define ABSTRACT_AT 3		/* an abstract name begins after the family and a NUL */
#define ABSTRACT_BYTES 107

#if defined(NAME_STATES)
struct abstract_names {
	u16 next[NAME_STATES * 256];	/* by state and byte */
	u16 rule[NAME_STATES];		/* that denies a name which ends in the state, or 0 */
};
BPF_ARRAY(abstract_names, struct abstract_names, 1);

/*
 * Every byte of the longest name makes a step, and those behind the end change nothing: no branch a byte. A name may hold NULs, so its length says
 * where it ends.
 */
static __always_inline u32 rule_for_name(u64 address, u64 length)
{
	u32 zero = 0, size = length;
	struct abstract_names *table = abstract_names.lookup(&zero);
	u64 state = 0, at, inside;
	u8 name[128];
	int i;

	if (!table)
		return UNIX_CLOSED;
	__builtin_memset(name, 0, sizeof(name));
	asm volatile("" : "+r"(size));
	size &= sizeof(name) - 1;
	if (read_kernel(name, size, (void *)address))
		return UNIX_CLOSED;
	for (i = 0; i < ABSTRACT_BYTES; i++) {
		at = (state & (NAME_STATES - 1)) << 8;
		asm volatile("" : "+r"(at));	/* or an addition becomes an "or", after which the verifier knows no bounds */
		at += name[i];
		inside = 0 - (((u64)i - length) >> 63);
		state = (table->next[at] & inside) | (state & ~inside);
	}
	return table->rule[state & (NAME_STATES - 1)];
}
#endif

/* `address` is a sockaddr_un with an abstract name, `length` the bytes of both. */
static __always_inline u32 judge_name(struct judged *judged, u64 address, u64 length)
{
	judged->address = address;
	judged->length = length;
#if defined(NAME_STATES)
	return rule_for_name(address + ABSTRACT_AT, number_of(length - ABSTRACT_AT));
#else
	return UNIX_REST;
#endif
}

/* A socket's file; also one that was moved or removed since: it is where the kernel has it. */
static __always_inline u32 judge_socket_file(struct judged *judged, u64 dentry, u64 mount)
{
#if defined(PATH_ACCESSES) && (PATH_ACCESSES & ACCESS_PEER)
	u32 rule = judge_object(judged, dentry, mount, ACCESS_PEER);

	return rule || !(judged->left & ACCESS_PEER) ? rule : UNIX_REST;
#else
	judged->dentry = dentry;
	judged->mount = mount;
	return UNIX_REST;
#endif
}

/* The socket that is met; `sk` is a struct unix_sock. One that is bound to nothing is met by the rule on every socket alone. */
static __always_inline u32 judge_peer(struct judged *judged, u64 sk)
{
	u64 path = sk + OFF_UNIX_PATH, bound;

	bound = read_u64(path + OFF_PATH_DENTRY);
	if (bound)
		return judge_socket_file(judged, bound, mount_of(path));
	bound = read_u64(sk + OFF_UNIX_ADDRESS);
	if (bound)
		return judge_name(judged, bound + OFF_UNIX_NAME, read_u32(bound + OFF_UNIX_LENGTH));
	return UNIX_REST;
}

/* unix_stream_connect(sock, other, newsk): also of SOCK_SEQPACKET */
static __always_inline u32 judge_stream(u64 *ctx, struct judged *judged)
{
	return judge_peer(judged, number_of(ctx[1]));
}

/* unix_may_send(socket, other): a datagram socket is connected, or a datagram sent */
static __always_inline u32 judge_datagram(u64 *ctx, struct judged *judged)
{
	return judge_peer(judged, read_u64(number_of(ctx[1]) + OFF_SOCKET_SK));
}

/* socket_bind(sock, address, addrlen) */
static __always_inline u32 judge_unix_bind(u64 *ctx, struct judged *judged)
{
	u64 address = number_of(ctx[1]);
	u32 length = number_of(ctx[2]);
	u16 family = 0;
	u8 first = 1;

	read_kernel(&family, sizeof(family), (void *)address);
	if (family != AF_UNIX) {
#if defined(NETS)
		return judge_bind(ctx, judged);
#else
		return 0;
#endif
	}
	if (length <= FAMILY_BYTES) {
		judged->address = address;
		judged->length = FAMILY_BYTES;
		return UNIX_CHOSEN;
	}
	read_kernel(&first, sizeof(first), (void *)(address + FAMILY_BYTES));
	return first ? 0 : judge_name(judged, address, length);
}

/* path_mknod(dir, dentry, mode, dev), where there are no rules on paths */
static __always_inline u32 judge_socket_made(u64 *ctx, struct judged *judged)
{
	return (ctx[2] & S_IFMT) == S_IFSOCK ? judge_socket_file(judged, number_of(ctx[1]), mount_of(ctx[0])) : 0;
}

#endif
