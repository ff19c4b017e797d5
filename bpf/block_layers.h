/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a file system is mounted, asked of the kernel: for one that was mounted after the start, or where isotrace does not see it. Included by
 * block_paths.h.
 *
 * A place in it is judged by each mount of it in isotrace's own mount namespace, which the rules' paths are from, besides the mount that the hook may
 * know: a mount that is attached nowhere (open_tree, fsmount), or in another namespace (a bind mount in a user namespace), is no way round, and calls
 * that see no mount (utimensat, setxattr) are judged like the others.
 */
#ifndef ISOTRACE_BLOCK_LAYERS_H
#define ISOTRACE_BLOCK_LAYERS_H

#define SEARCH 48		/* mounts of one file system that are looked at */
#define FRESH 8192

#define HOME_SUPER 0		/* the superblock of isotrace's own root */
#define HOME_NAMESPACE 1	/* isotrace's own mount namespace */
#define HOME_FULL 2		/* whether `fresh` had no room for one */

BPF_ARRAY(home, u64, 3);
BPF_HASH(fresh, u64, u32, FRESH);	/* superblocks made since the programs were attached; memory that is used again is one again */

static __always_inline u64 at_home(u32 which)
{
	u64 *found = home.lookup(&which);

	return found ? *found : 0;
}

/* sb_alloc_security(sb), whoever makes it */
static __always_inline int note_superblock(u64 *ctx)
{
	u64 super = number_of(ctx[0]), full = 1;
	u32 value = 1, which = HOME_FULL;

	if (fresh.update(&super, &value))
		home.update(&which, &full);
	return 0;
}

#define NOTE_SUPERBLOCK(symbol) int symbol(u64 *ctx) { return note_superblock(ctx); }

static __always_inline int is_fresh(u64 super)
{
	return fresh.lookup(&super) != NULL || at_home(HOME_FULL);
}

/* All ones where the numbers are equal, and 0 where not. */
static __always_inline u64 equal(u64 one, u64 other)
{
	u64 differ = one ^ other, minus = 0 - differ;

	asm volatile("" : "+r"(minus));	/* or the compiler makes a branch of it */
	return ((differ | minus) >> 63) - 1;
}

static __always_inline u64 choose(u64 mask, u64 one, u64 other)
{
	asm volatile("" : "+r"(mask));
	return (one & mask) | (other & ~mask);
}

/* Since 6.18 the mounts of a superblock are linked one by one; before they were a list with a head. 0 is the end. */
static __always_inline u64 mount_at(u64 link, u64 super)
{
#if defined(OFF_MOUNT_NEXT)
	return link;
#else
	return (link - OFF_MOUNT_INSTANCE) & ~equal(link, super + OFF_S_MOUNTS);
#endif
}

#if defined(OFF_MOUNT_NEXT)
#define NEXT_LINK OFF_MOUNT_NEXT
#else
#define NEXT_LINK 0
#endif

static __always_inline u64 namespace_of_task(void)
{
	return read_u64(read_u64(bpf_get_current_task() + OFF_NSPROXY) + OFF_NSPROXY_MNT);
}

/*
 * Fills `walk->others` with the mounts of the file system that are attached in isotrace's namespace. Returns 0 where there are more than that, or more in
 * all than are looked at. No branch in it: each would double what the verifier looks at.
 */
static __always_inline int find_others(struct walk *walk, u64 super)
{
	u64 link = read_u64(super + OFF_S_MOUNTS), home_space = at_home(HOME_NAMESPACE), full = 0, mount, take;
	int i;

	for (i = 0; i < SEARCH; i++) {
		mount = mount_at(link, super);
		take = ~equal(mount, 0) & equal(read_u64(mount + OFF_MOUNT_NS), home_space);
		take &= ~equal(read_u64(mount + OFF_MOUNT_PARENT), mount);
		full |= walk->others[OTHERS - 1] & take;
		walk->others[2] = choose(take, walk->others[1], walk->others[2]);
		walk->others[1] = choose(take, walk->others[0], walk->others[1]);
		walk->others[0] = choose(take, mount, walk->others[0]);
		link = choose(equal(mount, 0), link, read_u64(link + NEXT_LINK));
	}
	return !(full | mount_at(link, super));
}

/*
 * What has to be known of the file system that an object is in, before its place is judged. One that was there before, where isotrace did not see it, and
 * that is mounted more often than can be looked at, is judged by the mount at hand, as far as there is one.
 */
static __always_inline u32 know_place(struct walk *walk, u64 dentry)
{
	u64 super = read_u64(dentry + OFF_D_SB);
	u32 device = read_u32(super + OFF_S_DEV), found;
	u64 is_new = number_of(is_fresh(super));

	if (!is_new && filesystems.lookup(&device))
		return REASON_RULE;
	is_new = number_of(is_new);
	found = find_others(walk, number_of(super));
	forget(walk);
	return found || !is_new ? REASON_RULE : REASON_ADRIFT;
}

/* The walk begins anew below the next of the other mounts; returns whether there is one. */
static __always_inline int restart(struct walk *walk)
{
	u64 mount = walk->others[0];

	if (!mount)
		return 0;
	walk->others[0] = walk->others[1];
	walk->others[1] = walk->others[2];
	walk->others[2] = 0;
	walk->dentry = walk->object;
	walk->mount = mount;
	walk->mount_root = read_u64(mount + OFF_MOUNT_MNT + OFF_MNT_ROOT);
	walk->passed = 0;
	walk->below = 0;
	walk->open = walk->asked;
#if defined(GLOBS)
	begin_globs(walk);
#endif
	return 1;
}

/* ---- what a path was judged for ---------------------------------------------------------------------------- */

/* The dentries that a thread may do to what the call asks: the hooks with a path come before those without one, in the same call. */
struct pair {
	u64 one;
	u64 other;
};
BPF_TABLE("lru_hash", u32, struct pair, remembered, 4096);

/* What was judged, where the call goes on. Returns the rule. */
static __always_inline u32 remember(u32 rule, u64 one, u64 other)
{
	struct pair pair = {.one = one, .other = other};
	u32 tid = bpf_get_current_pid_tgid();

	rule = number_of(rule);
	if (!rule || is_audit(rule))
		remembered.update(&tid, &pair);
	return rule;
}

static __always_inline int is_remembered(u64 one, u64 other)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct pair *found = remembered.lookup(&tid);

	return found && found->one == one && found->other == other;
}

/* A dentry of the inode, or 0: where a file has several names, one of them; a name to where a rule denies it could not be made. */
static __always_inline u64 name_of_inode(u64 inode)
{
	u64 first = read_u64(inode + OFF_I_DENTRY);

	return first ? first - OFF_D_ALIAS : 0;
}

#endif
