/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules on paths, by object. The walk goes from the object up to the root of its file system and on from there by the mounts, and looks at each
 * level whether the directory is the anchor of a rule: the deepest directory that a pattern names literally. Anchors are known by the address of
 * their inode, which user space keeps in memory by an open descriptor, so neither the spelling of a path nor where a directory was moved matters.
 *
 * The deepest anchor with a rule on the access decides, which is what "the most specific pattern wins" amounts to. At one anchor a name right
 * below it comes first, then the patterns in their order, then the subtree.
 */
#ifndef ISOTRACE_BLOCK_PATHS_H
#define ISOTRACE_BLOCK_PATHS_H

#define ACCESS_READ 1
#define ACCESS_WRITE 2
#define ACCESS_EXECUTE 4
#define ACCESS_MOVE 8		/* a directory changes its place: see rule_on_move() */
#define ACCESS_PEER 16		/* a unix socket is the peer of a connect or send, or bound */
#define ACCESSES 5
#define ACCESS_ANY (ACCESS_READ | ACCESS_WRITE | ACCESS_EXECUTE)

#define REASON_RULE 0
#define REASON_DEEP 1		/* farther from the root than WALK levels */
#define REASON_DISCONNECTED 2		/* opened by handle, and its directory is not known */

#define WALK 64
#define WALK_TYPED 24
#define WALK_PLAIN 16
#define NAME 64
#define PREFIX_NAME 60
#define WORD_BITS 64

#define DCACHE_OP_COMPARE 0x02	/* of dentry.d_flags, since 2.6.38 */
#define DCACHE_DISCONNECTED 0x20	/* of dentry.d_flags, since 2.6 */
#define S_IFDIR 0040000
#define S_IFREG 0100000
#define S_IFLNK 0120000
#define O_TRUNC 01000
#define FMODE_READ 1		/* as ACCESS_READ and ACCESS_WRITE */
#define FMODE_WRITE 2
#define FMODE_EXEC 0x20
#define OWN_MOUNT ((u64)-22)	/* mnt_ns of a mount that the kernel keeps to itself (MNT_NS_INTERNAL, 5.8) */

#if defined(GLOBS)
struct bits {
	u64 word[2];
};

struct name {
	char text[NAME];
};
#endif

/* Which accesses are decided, and of these denied; by which rule, for each access. */
struct verdict {
	u8 decided;
	u8 denied;
	u16 rules[ACCESSES];
};

struct anchor {
	struct verdict at;	/* the anchor itself */
	struct verdict below;
	u32 directory;		/* the number of its names in `children`; 0: none */
	u32 globs;		/* its patterns in `glob_entries`: from, and the end in the upper half */
	u64 moves[2];		/* the state's bits that say that a pattern leads through the object, and has more to match below it */
	u64 cover;		/* stands for the exceptions for all that is below the anchor */
};

struct child {
	u32 directory;
	char name[PREFIX_NAME];
};

struct child_verdict {
	struct verdict at;
	struct verdict below;
};

BPF_HASH(anchors, u64, struct anchor, ANCHORS);		/* by inode */
BPF_HASH(filesystems, u32, struct anchor, FILESYSTEMS);	/* by device: what mounts below an anchor inherit, at their root */
BPF_HASH(children, struct child, struct child_verdict, CHILDREN);
BPF_HASH(fixtures, u64, u16, FIXTURES);			/* directories and links that a rule's path leads through, and the rule */
BPF_ARRAY(learned, u64, 3);				/* inode, device and inode number that isotrace itself looks at: see learn() */

/* A one-hash Bloom filter of the anchors, by inode number: most directories on a way up are no anchors, and need no look into `anchors`. */
#define ANCHOR_BLOOM 4096
BPF_ARRAY(anchor_bloom, u64, ANCHOR_BLOOM / 64);

/* What leads through an object: the parts of patterns that match its place, and a number for the exceptions that it is below. */
struct leads {
	u64 moves[2];
	u64 cover;
	u64 unsure;		/* the walk came by a name that it cannot compare */
};

/*
 * A walk under way, on the stack: no other task can come between. forget() has the verifier take what is in it for anything at all, so that each
 * level is like the one before, and is looked at once.
 */
struct walk {
	u64 dentry;
	u64 mount;		/* struct mount, or 0 */
	u64 below;		/* the dentry that the walk came from */
	u64 object;		/* where it began */
	u32 open;		/* accesses not yet decided */
	u32 denied;		/* rule */
#if defined(GLOBS)
	u64 state[2], kept[2];	/* the patterns that match so far; kept: when the walk passed the root of `mount` */
	u64 mount_root;
	struct leads leads;	/* of all anchors that were met */
#endif
};

/* What is read of a dentry, in one go, and its members. */
struct dentry_copy {
	char part[DENTRY_BYTES];
};

#define MEMBER_OF(copy, offset) (*(u64 *)((copy)->part + (offset) - DENTRY_FROM))
#define PARENT_OF(copy) MEMBER_OF(copy, OFF_D_PARENT)
#define INODE_OF(copy) MEMBER_OF(copy, OFF_D_INODE)
#define NAME_OF(copy) MEMBER_OF(copy, OFF_D_NAME)

static __always_inline void read_dentry(struct dentry_copy *copy, u64 dentry)
{
	__builtin_memset(copy, 0, sizeof(*copy));
	read_kernel(copy->part, sizeof(copy->part), (void *)(dentry + DENTRY_FROM));
}

#if defined(GLOBS)
/* All ones where the file system compares names by itself, as those do that ignore case. */
static __always_inline u64 spelled_anyhow(u64 dentry)
{
	return 0 - (u64)(read_u32(dentry + OFF_D_FLAGS) / DCACHE_OP_COMPARE & 1);
}
#endif

/* 1, and all ones, when the number is not zero: without a branch, and in words of which the verifier follows the range. */
static __always_inline u64 is_set(u64 number)
{
	number |= 0 - number;
	asm volatile("%0 >>= 63" : "+r"(number));
	return number;
}

static __always_inline u64 mask_of(u64 number)
{
	return 0 - is_set(number);
}

/* The rule on the first of `accesses`. */
static __always_inline u32 rule_for(struct verdict *verdict, u64 accesses)
{
	u64 first = 4 - is_set(accesses & 1) - is_set(accesses & 3) - is_set(accesses & 7) - is_set(accesses & 15);

	asm volatile("" : "+r"(first));
	return verdict->rules[first];
}

/*
 * What is open and denied ends the walk, by a rule; what is decided is open no more. Nothing here has a branch: the verifier looks at all that
 * follows once for each way, and there are sixty-four levels.
 */
static __always_inline void apply(struct walk *walk, struct verdict *verdict)
{
	u64 denied = walk->open & verdict->denied, ends = mask_of(denied);

	walk->denied |= rule_for(verdict, denied) & ends;
	walk->open &= ~((u64)verdict->decided | ends);
}

#if defined(GLOBS)
#include "block_globs.h"
#endif

static __always_inline void apply_child(struct walk *walk, u32 directory)
{
	struct child_verdict *found;
	struct child key;
	long got;

	__builtin_memset(&key, 0, sizeof(key));
	key.directory = directory;
	got = read_kernel_string(key.name, PREFIX_NAME, (void *)read_u64(walk->below + OFF_D_NAME));
	if (got <= 0 || got == PREFIX_NAME)
		return;
	found = children.lookup(&key);
	if (found)
		apply(walk, &found->at + is_set(walk->below ^ walk->object));
}

/* An anchor's own names come before its patterns, its subtree after them. */
static __always_inline void apply_names(struct walk *walk, struct anchor *anchor)
{
	if (anchor->directory && walk->below)
		apply_child(walk, anchor->directory);
	forget(walk);
}

static __always_inline void apply_subtree(struct walk *walk, struct anchor *anchor)
{
	apply(walk, &anchor->at + is_set(walk->dentry ^ walk->object));
}

static __always_inline void apply_anchor(struct walk *walk, struct anchor *anchor)
{
	apply_names(walk, anchor);
#if defined(GLOBS)
	if (anchor->globs)
		apply_globs(walk, anchor->globs);
	forget(walk);
	walk->leads.moves[0] |= walk->state[0] & anchor->moves[0];
	walk->leads.moves[1] |= walk->state[1] & anchor->moves[1];
	walk->leads.cover += anchor->cover;
#endif
	apply_subtree(walk, anchor);
}

static __always_inline struct anchor *anchor_of_root(struct walk *walk)
{
	u64 device;

	if (ROOTS == 0)
		return NULL;
	device = read_u32(read_u64(walk->dentry + OFF_D_SB) + OFF_S_DEV);
	return filesystems.lookup((u32 *)&device);
}

/*
 * Whether nothing is above the dentry because the kernel has not looked for it: it was found by a handle (open_by_handle_at). What has no place at all,
 * such as a pipe, and the root of a mount that is not the root of its file system (NFS) do not have the flag.
 */
static __always_inline int is_disconnected(u64 dentry)
{
	return (read_u32(dentry + OFF_D_FLAGS) & DCACHE_DISCONNECTED) != 0;
}

/* Goes on at the directory that the file system is mounted on; returns whether there is one. */
static __always_inline int climb(struct walk *walk)
{
	u64 above;

	if (!walk->mount)
		return 0;
	above = read_u64(walk->mount + OFF_MOUNT_PARENT);
	if (above == walk->mount)
		return 0;
	walk->dentry = read_u64(walk->mount + OFF_MOUNT_POINT);
	walk->mount = above;
	walk->below = 0;
#if defined(GLOBS)
	walk->state[0] = walk->kept[0];
	walk->state[1] = walk->kept[1];
	walk->mount_root = read_u64(above + OFF_MOUNT_MNT + OFF_MNT_ROOT);
#endif
	forget(walk);
	return 1;
}

/* Goes on at the directory above. */
static __always_inline void step_up(struct walk *walk, struct dentry_copy *copy)
{
	walk->below = walk->dentry;
	walk->dentry = PARENT_OF(copy);
	forget(walk);
}

/* The reason why the walk ended; `walk->denied` is its result. */
static __always_inline u32 walk_up(struct walk *walk)
{
	int i;

	for (i = 0; i < WALK; i++) {
		struct dentry_copy copy;
		struct anchor *anchor;

		read_dentry(&copy, walk->dentry);
		anchor = INODE_OF(&copy) ? anchors.lookup(&INODE_OF(&copy)) : NULL;
#if defined(GLOBS)
		keep_globs(walk);
#endif
		if (PARENT_OF(&copy) == walk->dentry) {
			if (is_disconnected(walk->dentry))
				return REASON_DISCONNECTED;
			if (!anchor)
				anchor = anchor_of_root(walk);
		}
		if (anchor)
			apply_anchor(walk, anchor);
		forget(walk);
		if (!walk->open)
			return REASON_RULE;
		if (PARENT_OF(&copy) == walk->dentry) {
			if (!climb(walk))
				return REASON_RULE;
			continue;
		}
#if defined(GLOBS)
		step_globs(walk, NAME_OF(&copy), spelled_anyhow(walk->dentry));
#endif
		step_up(walk, &copy);
	}
	return REASON_DEEP;
}

static __always_inline int may_be_anchor(u64 number)
{
	u64 index = (number / 64) & (ANCHOR_BLOOM / 64 - 1);
	u64 *word = anchor_bloom.lookup((u32 *)&index);

	return word && (*word >> (number & 63)) & 1;
}

/*
 * The first part of a walk, up to the root of the file system, from a file that the verifier knows the type of: plain loads, which cost a tenth of
 * what a read through a helper does. Returns whether all is decided; if not, the walk goes on from where this ends.
 */
static __always_inline int walk_typed(struct walk *walk, u64 dentry, u64 mnt)
{
	u64 parent = 0, inode, above = 0;
	struct anchor *anchor;
	int i;

	for (i = 0; i < WALK_TYPED; i++) {
		walk->dentry = dentry;
		inode = *(u64 *)(dentry + OFF_D_INODE);
		if (may_be_anchor(*(u64 *)(inode + OFF_I_INO))) {
			anchor = anchors.lookup(&inode);
			if (anchor && anchor->globs)
				return 0;
			if (anchor) {
				forget(walk);	/* what it has of typed pointers is not for arithmetic */
				apply_names(walk, anchor);
				apply_subtree(walk, anchor);
			}
			if (!walk->open)
				return 1;
		}
		parent = *(u64 *)(dentry + OFF_D_PARENT);
		/* "Likely", or the compiler has the loop's end fall into its beginning, which the verifier takes for no loop it knows. */
		if (__builtin_expect(parent == dentry, 1))
			break;
		walk->below = dentry;
		dentry = parent;
	}
	walk->dentry = dentry;
	if (parent != dentry || ROOTS != 0 || dentry != *(u64 *)(*(u64 *)(dentry + OFF_D_SB) + OFF_S_ROOT))
		return 0;
	mnt -= OFF_MOUNT_MNT;
	read_kernel(&above, sizeof(above), (void *)(mnt + OFF_MOUNT_PARENT));
	return above == mnt;
}

#if defined(GLOBS)
/*
 * The rest of a walk as far as that goes without patterns, which want all the names from the object on: they are costly, and most ways up meet no
 * anchor that has any. Returns whether all is decided; if not, the walk has to begin anew.
 */
static __always_inline int walk_plain(struct walk *walk)
{
	int i;

	for (i = 0; i < WALK_PLAIN; i++) {
		struct dentry_copy copy;
		struct anchor *anchor;

		read_dentry(&copy, walk->dentry);
		anchor = INODE_OF(&copy) ? anchors.lookup(&INODE_OF(&copy)) : NULL;
		if (PARENT_OF(&copy) == walk->dentry) {
			if (is_disconnected(walk->dentry))
				return 0;
			if (!anchor)
				anchor = anchor_of_root(walk);
		}
		if (anchor && anchor->globs)
			return 0;
		if (anchor) {
			apply_names(walk, anchor);
			apply_subtree(walk, anchor);
		}
		forget(walk);
		if (!walk->open)
			return 1;
		if (PARENT_OF(&copy) == walk->dentry) {
			if (!climb(walk))
				return 1;
			continue;
		}
		step_up(walk, &copy);
	}
	return 0;
}
#endif

/* The rule that the rest of the walk finds, or 0. */
static __always_inline u32 finish(struct judged *judged, struct walk *walk)
{
	forget(walk);
	judged->reason = walk_up(walk);
	forget(walk);
	return judged->reason == REASON_RULE ? walk->denied : CLOSED_RULE;
}

/* The rule that denies one of `walk->open` to `walk->object`, or 0. */
static __always_inline u32 judge_walk(struct judged *judged, struct walk *walk)
{
#if defined(GLOBS)
	begin_globs(walk);
	walk->mount_root = read_u64(walk->mount + OFF_MOUNT_MNT + OFF_MNT_ROOT);	/* 0 where there is no mount: nothing can be read there */
#endif
	return finish(judged, walk);
}

/* As judge_object(), by a walk that the caller has, as there is room on the stack for one: it has what led through the object. */
static __always_inline u32 judge_by(struct walk *walk, struct judged *judged, u64 dentry, u64 mount, u32 accesses)
{
	u32 rule;

	__builtin_memset(walk, 0, sizeof(*walk));
	walk->dentry = dentry;
	walk->mount = mount;
	walk->object = dentry;
	walk->open = accesses & PATH_ACCESSES;
	judged->left = 0;
	if (!walk->open)
		return 0;
	ASKED_FOR(judged, accesses & ACCESS_ANY);
	judged->dentry = dentry;
	judged->mount = mount;
	rule = judge_walk(judged, walk);
	judged->left = walk->open;
	if (judged->reason != REASON_RULE && (accesses & PATH_ACCESSES & ACCESS_PEER))
		return accesses == ACCESS_PEER ? UNIX_CLOSED : MOVE_CLOSED;
	return rule;
}

/* The rule that denies one of `accesses` to the object, or 0. `mount` is 0 where the hook does not have it. */
static __always_inline u32 judge_object(struct judged *judged, u64 dentry, u64 mount, u32 accesses)
{
	struct walk walk;

	return judge_by(&walk, judged, dentry, mount, accesses);
}

#include "block_layers.h"

/* ---- hooks ------------------------------------------------------------------------------------------------ */

static __always_inline u32 judge_file(struct judged *judged, u64 file, u32 accesses)
{
	u64 path = file + OFF_F_PATH;

	return judge_object(judged, read_u64(path + OFF_PATH_DENTRY), mount_of(path), accesses);
}

#if defined(HELD)
#include "block_held.h"
#endif

/* Without a branch, or the verifier looks at all that follows once for each result. */
static __always_inline u32 accesses_of_flags(u32 flags)
{
	u32 execute = (flags / FMODE_EXEC) & 1;
	u32 low = flags & 1, high = (flags >> 1) & 1;	/* of O_ACCMODE */
	u32 reads = 1 ^ (low & ~high), writes = low | high | ((flags / O_TRUNC) & 1);

	return ((reads * ACCESS_READ + writes * ACCESS_WRITE) & (execute - 1)) + execute * ACCESS_EXECUTE;
}

/* What is asked of a file that a layered file system opens for itself: what it reads can be mapped executable as the file above. */
static __always_inline u32 accesses_beneath(u32 accesses)
{
	return (accesses | ((accesses & ACCESS_READ) * ACCESS_EXECUTE)) & PATH_ACCESSES;
}

/*
 * 1 for what a layered file system opens for itself (FMODE_BACKING: 6.5, commit 62d53c4a1dfe), else 0. Its bit was 25 at first, which later says that
 * there are no notices of the file, and is 24 since that is so (6.14, and releases of 6.12); FMODE_NOACCOUNT, 29, goes with it, and no user's file has that.
 */
static __always_inline u32 is_backing(u64 file)
{
	u32 mode = read_u32(file + OFF_F_MODE);

	return mode >> 29 & (mode >> 24 | mode >> 25) & 1;
}

/*
 * The rule on a program that no path has, such as one in a memfd: where executing everything is denied (`x:/`), a walk that leaves it undecided did
 * not come by the root. What an overlay opens for itself was judged as the overlay's file.
 */
static __always_inline u32 nowhere(u64 file, u32 asked, u32 open)
{
	if (!NOWHERE || !(asked & open & ACCESS_EXECUTE))
		return 0;
	return is_backing(file) ? 0 : NOWHERE;
}

/*
 * file_open(file). Up to 6.7 a file of an overlay's layer has the path of the overlay, and its own inode: that is judged by a name that it has. From
 * then on it has its own path, by a mount of the overlay's own.
 */
static __always_inline u32 judge_open(u64 *ctx, struct judged *judged)
{
	u64 file = ctx[0], dentry = *(u64 *)(file + OFF_F_PATH + OFF_PATH_DENTRY), mnt = *(u64 *)(file + OFF_F_PATH + OFF_PATH_MNT);
	u32 asked = accesses_of_flags(*(u32 *)(file + OFF_F_FLAGS)), accesses = asked & PATH_ACCESSES;
	u64 beneath = 0;
	struct walk walk = {.dentry = dentry, .mount = mnt - OFF_MOUNT_MNT, .object = dentry};
	u32 rule;

#if defined(BORROWED_PATH)
	beneath = *(u64 *)(file + OFF_F_INODE);
	if (beneath == *(u64 *)(dentry + OFF_D_INODE))
		beneath = 0;
	else
		accesses = accesses_beneath(asked);
#elif PATH_ACCESSES & ACCESS_EXECUTE
	if (read_u64(walk.mount + OFF_MOUNT_NS) == OWN_MOUNT)
		accesses = accesses_beneath(asked);
#endif
	if (!accesses)
		return 0;
	walk.open = accesses;
	ASKED_FOR(judged, accesses);
	FOUND_FLAGS(judged, *(u32 *)(file + OFF_F_FLAGS), *(u32 *)(file + OFF_F_MODE));
	judged->dentry = dentry;
	judged->mount = walk.mount;
	if (beneath) {
		judged->dentry = name_of_inode(beneath);
		if (!judged->dentry)
			return CLOSED_RULE;
		judged->mount = walk.mount = 0;
		walk.dentry = walk.object = judged->dentry;
	} else if (walk_typed(&walk, dentry, mnt)) {
		return walk.denied ? walk.denied : nowhere(file, asked, walk.open);
	}
#if defined(GLOBS)
	forget(&walk);
	if (walk_plain(&walk))
		return walk.denied || beneath ? walk.denied : nowhere(file, asked, walk.open);
	walk.dentry = judged->dentry;
	walk.mount = judged->mount;
	walk.below = 0;
	walk.open = accesses;
	rule = judge_walk(judged, &walk);
#else
	rule = finish(judged, &walk);
#endif
	return rule || beneath ? rule : nowhere(file, asked, walk.open);
}

/* file_receive(file): a descriptor that comes from another process gives what an open would */
static __always_inline u32 judge_received(u64 *ctx, struct judged *judged)
{
	u64 file = number_of(ctx[0]);

	return judge_file(judged, file, read_u32(file + OFF_F_MODE) & (FMODE_READ | FMODE_WRITE));
}

/* path_mkdir(dir, dentry, …) */
static __always_inline u32 judge_entry(u64 *ctx, struct judged *judged)
{
	u64 dentry = number_of(ctx[1]);

	return remember(judge_object(judged, dentry, mount_of(ctx[0]), ACCESS_WRITE), dentry, 0);
}

/* The rule whose path leads through the object, or 0: of several one that refuses. Were another object in its place, the path would name another file. */
static __always_inline u32 fixture_rule(u64 dentry)
{
	u64 inode = read_u64(dentry + OFF_D_INODE);
	u16 *found = inode ? fixtures.lookup(&inode) : NULL;

	return number_of(found ? *found : 0);
}

static __always_inline u32 judge_removed(struct judged *judged, u64 dentry, u64 mount)
{
	u32 rule = judge_object(judged, dentry, mount, ACCESS_WRITE), fixed;

	if (rule && !is_audit(rule))
		return rule;
	judged->dentry = dentry;
	judged->mount = mount;
	fixed = fixture_rule(dentry);
	return fixed ? fixed : rule;
}

/* path_unlink, path_rmdir(dir, dentry, …) */
static __always_inline u32 judge_removal(u64 *ctx, struct judged *judged)
{
	u64 dentry = number_of(ctx[1]);

	return remember(judge_removed(judged, dentry, mount_of(ctx[0])), dentry, 0);
}

/* The accesses of a node that is made, and the rule on what comes of them. */
static __always_inline u32 judge_node(struct judged *judged, u64 dentry, u64 mount, u64 mode)
{
	u32 socket = number_of((mode & S_IFMT) == S_IFSOCK ? ACCESS_PEER : 0);
	u32 rule = judge_object(judged, dentry, mount, ACCESS_WRITE | socket);

	return rule || !(judged->left & socket) ? rule : UNIX_REST;
}

/* path_mknod(dir, dentry, mode, dev) */
static __always_inline u32 judge_mknod(u64 *ctx, struct judged *judged)
{
	u64 dentry = number_of(ctx[1]);

	return remember(judge_node(judged, dentry, mount_of(ctx[0]), ctx[2]), dentry, 0);
}

/* What must hold for an object to get another name: a move or a link is no way round a rule. A directory may have sockets in it. */
static __always_inline u32 accesses_to_move(u64 dentry)
{
	u64 inode = read_u64(dentry + OFF_D_INODE);
	u64 mode = 0;

	if (!inode)
		return ACCESS_WRITE;
	read_kernel(&mode, sizeof(u16), (void *)(inode + OFF_I_MODE));
	mode &= S_IFMT;
	if (mode == S_IFDIR)
		return ACCESS_ANY | ACCESS_MOVE | ACCESS_PEER;
	if (mode == S_IFLNK)	/* to a directory, perhaps */
		return ACCESS_ANY | ACCESS_MOVE;
	return mode == S_IFSOCK ? ACCESS_ANY | ACCESS_PEER : ACCESS_ANY;
}

/* An object gets another name. A socket is met at the place that it was bound to, so only its new name matters. */
static __always_inline u32 judge_linked(struct judged *judged, u64 old, u64 new, u64 mount)
{
	struct walk walk;
	u32 rule = judge_by(&walk, judged, old, mount, ACCESS_ANY);

	if (rule)
		return rule;
	forget(judged);
	return judge_by(&walk, judged, new, mount, ACCESS_WRITE | (number_of(accesses_to_move(old)) & ACCESS_PEER));
}

/* path_link(old_dentry, new_dir, new_dentry) */
static __always_inline u32 judge_link(u64 *ctx, struct judged *judged)
{
	u64 old = number_of(ctx[0]), new = number_of(ctx[2]);

	ASKED_OF_BOTH(judged, old, new);
	return remember(judge_linked(judged, old, new, mount_of(ctx[1])), old, new);
}

#if defined(GLOBS)
/* What led through the old place of what a thread moves, while the walk from the new one is under way: there is no room for it on the stack. */
BPF_TABLE("lru_hash", u32, struct leads, departed, 4096);

static __always_inline void depart(struct leads *leads)
{
	u64 tid = bpf_get_current_pid_tgid();

	departed.update((u32 *)&tid, leads);
}

/* The rule of the lowest bit of a word, or 0. */
static __always_inline u32 rule_of_bit(u64 bits, u64 high)
{
	struct bits key = {.word = {bits & (0 - bits), high}};
	u16 *found = bits ? move_rules.lookup(&key) : NULL;

	return number_of(found ? *found : 0);
}

/* The rule of a bit, of those that refuse first. */
static __always_inline u32 rule_of_bits(u64 low, u64 high)
{
	u32 rule = rule_of_bit(low & REFUSED_MOVES_LOW, 0);

	if (!rule)
		rule = rule_of_bit(high & REFUSED_MOVES_HIGH, 1);
	if (!rule)
		rule = rule_of_bit(low & AUDITED_MOVES_LOW, 0);
	if (!rule)
		rule = rule_of_bit(high & AUDITED_MOVES_HIGH, 1);
	return rule;
}

/*
 * The rule that forbids a directory or link its move, or 0. Of a pattern that leads through it the same is left to match below each of its two places if
 * the same parts of it match them; then, and if the exceptions are the same, all that is in the directory is judged as before. Nothing leaves a pattern,
 * and nothing comes to where one on `w` leads through, as what it has could not be made there. `comes` and `goes` say which of the two that change
 * places are directories or links.
 */
static __always_inline u32 rule_on_move(struct leads *to, u32 comes, u32 goes)
{
	u64 differ, arrives, old = mask_of(comes & ACCESS_MOVE), new = mask_of(goes & ACCESS_MOVE), tid = bpf_get_current_pid_tgid();
	struct leads *from = departed.lookup((u32 *)&tid);

	if (!from)
		return MOVE_CLOSED;
	differ = (from->moves[0] ^ to->moves[0]) | (from->moves[1] ^ to->moves[1]);
	differ = mask_of(differ | (from->cover ^ to->cover) | from->unsure | to->unsure);
	old &= differ;
	new &= differ;
	arrives = (from->moves[0] & new) | (to->moves[0] & old);
	differ = (from->moves[0] & old) | (to->moves[0] & new) | (arrives & WRITTEN_LOW);
	arrives = (from->moves[1] & new) | (to->moves[1] & old);
	return rule_of_bits(differ, (from->moves[1] & old) | (to->moves[1] & new) | (arrives & WRITTEN_HIGH));
}
#endif

/* A link that is made where a pattern on `w` leads through by a name: what the pattern is about is found where the link leads to. */
static __always_inline u32 judge_made_link(struct judged *judged, u64 dentry, u64 mount)
{
	struct walk walk;
	u32 rule = judge_by(&walk, judged, dentry, mount, ACCESS_WRITE | ACCESS_MOVE);

#if defined(GLOBS)
	if (!rule)
		rule = rule_of_bits(walk.leads.moves[0] & NAMED_LOW, walk.leads.moves[1] & NAMED_HIGH);
#endif
	return rule;
}

/* path_symlink(dir, dentry, …) */
static __always_inline u32 judge_symlink(u64 *ctx, struct judged *judged)
{
	u64 dentry = number_of(ctx[1]);

	return remember(judge_made_link(judged, dentry, mount_of(ctx[0])), dentry, 0);
}

/*
 * What is there already may change places with what comes. Nothing that only the rule on every socket denies may come to where an exception allows it;
 * if there are exceptions deep in directories, no such directory may move. Both names are in one mount.
 */
static __always_inline u32 judge_moved(struct judged *judged, u64 old, u64 new, u64 mount)
{
	u64 kinds = number_of(accesses_to_move(old) | accesses_to_move(new) << 8);	/* one number, as there is no room on the stack */
	u32 both = (kinds | kinds >> 8) & (ACCESS_PEER | ACCESS_MOVE);
	u32 old_accesses, new_accesses, peer, moves, left;
	struct walk walk;
	u32 rule = judge_by(&walk, judged, old, mount, (kinds & 0xff) | both);

	if (rule)
		return rule;
#if defined(GLOBS)
	depart(&walk.leads);
#endif
	forget(judged);
	kinds = number_of(kinds | (u64)judged->left << 16);
	both = (kinds | kinds >> 8) & (ACCESS_PEER | ACCESS_MOVE);
	rule = judge_by(&walk, judged, new, mount, (kinds >> 8 & 0xff) | both);
	kinds = number_of(kinds);
	old_accesses = kinds & 0xff;
	new_accesses = kinds >> 8 & 0xff;
	peer = (old_accesses | new_accesses) & ACCESS_PEER;
	moves = (old_accesses | new_accesses) & ACCESS_MOVE;
	left = kinds >> 16 & peer;
#if defined(GLOBS)
	if (!rule)
		rule = rule_on_move(&walk.leads, old_accesses, new_accesses);
#endif
	if (rule || !UNIX_REST)
		return rule;
	if (UNIX_DEEP && moves && ((left | judged->left) & peer))
		return UNIX_REST;
	if (left == (judged->left & peer))
		return 0;
	return left || new_accesses != ACCESS_WRITE ? UNIX_REST : 0;
}

static __always_inline u32 judge_renamed(struct judged *judged, u64 old, u64 new, u64 mount)
{
	u32 rule = judge_moved(judged, old, new, mount), fixed, other;

	if (rule && !is_audit(rule))
		return rule;
	judged->dentry = old;
	judged->mount = mount;
	fixed = fixture_rule(old);
	if (!fixed || is_audit(fixed)) {
		other = fixture_rule(new);
		fixed = number_of(other ? other : fixed);
	}
	return fixed ? fixed : rule;
}

/* path_rename(old_dir, old_dentry, new_dir, new_dentry, …) */
static __always_inline u32 judge_rename(u64 *ctx, struct judged *judged)
{
	u64 old = number_of(ctx[1]), new = number_of(ctx[3]);

	ASKED_OF_BOTH(judged, old, new);
	return remember(judge_renamed(judged, old, new, mount_of(ctx[0])), old, new);
}

/*
 * The same at the hooks that see no mount, which the work of a layered file system comes to alone: a name that an overlay removes in its layer, a file
 * that it moves there. What was judged by its path a moment ago is not judged once more.
 */

/* inode_unlink, inode_rmdir(dir, dentry) */
static __always_inline u32 judge_removal_beneath(u64 *ctx, struct judged *judged)
{
	u64 dentry = number_of(ctx[1]);

	return is_remembered(dentry, 0) ? 0 : judge_removed(judged, dentry, 0);
}

/* inode_mkdir(dir, dentry, …) */
static __always_inline u32 judge_entry_beneath(u64 *ctx, struct judged *judged)
{
	u64 dentry = number_of(ctx[1]);

	return is_remembered(dentry, 0) ? 0 : judge_object(judged, dentry, 0, ACCESS_WRITE);
}

/* inode_symlink(dir, dentry, …) */
static __always_inline u32 judge_symlink_beneath(u64 *ctx, struct judged *judged)
{
	u64 dentry = number_of(ctx[1]);

	return is_remembered(dentry, 0) ? 0 : judge_made_link(judged, dentry, 0);
}

/* inode_create(dir, dentry, mode), inode_mknod(dir, dentry, mode, dev) */
static __always_inline u32 judge_node_beneath(u64 *ctx, struct judged *judged)
{
	u64 dentry = number_of(ctx[1]);

	return is_remembered(dentry, 0) ? 0 : judge_node(judged, dentry, 0, ctx[2]);
}

/* inode_link(old_dentry, dir, new_dentry) */
static __always_inline u32 judge_link_beneath(u64 *ctx, struct judged *judged)
{
	u64 old = number_of(ctx[0]), new = number_of(ctx[2]);

	ASKED_OF_BOTH(judged, old, new);
	return is_remembered(old, new) ? 0 : judge_linked(judged, old, new, 0);
}

/* inode_rename(old_dir, old_dentry, new_dir, new_dentry) */
static __always_inline u32 judge_rename_beneath(u64 *ctx, struct judged *judged)
{
	u64 old = number_of(ctx[1]), new = number_of(ctx[3]);

	ASKED_OF_BOTH(judged, old, new);
	return is_remembered(old, new) || is_remembered(new, old) ? 0 : judge_renamed(judged, old, new, 0);
}

/* inode_setattr and the like: there is no mount at hand */
static __always_inline u32 judge_first(u64 *ctx, struct judged *judged)
{
	return judge_object(judged, number_of(ctx[0]), 0, ACCESS_WRITE);
}

static __always_inline u32 judge_second(u64 *ctx, struct judged *judged)
{
	return judge_object(judged, number_of(ctx[1]), 0, ACCESS_WRITE);
}

/*
 * How user space learns an inode's address: it asks about the file system of the file (fstatfs), and this program, at the hook sb_statfs(dentry),
 * notes which file that was first: an overlay file system asks the file system below in turn.
 */
static __always_inline int learn(u64 *ctx)
{
	u64 dentry = number_of(ctx[0]);
	u64 inode = read_u64(dentry + OFF_D_INODE), device = read_u32(read_u64(dentry + OFF_D_SB) + OFF_S_DEV);
	u64 number = read_u64(inode + OFF_I_INO);
	u32 first = 0, second = 1, third = 2;
	u64 *known = learned.lookup(&first);

	if (OWN_TGID() != SELF || !known || *known)
		return 0;
	learned.update(&first, &inode);
	learned.update(&second, &device);
	learned.update(&third, &number);
	return 0;
}

#define LEARN(symbol) int symbol(u64 *ctx) { return learn(ctx); }

#endif
