/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What descriptors are, with DESCRIPTORS: the file, pipe or socket that has the number in the task's table, and its path, by its names up through
 * directories and mounts, as d_path() in fs/d_path.c goes, but up to the last root. Needs trace_captures.h.
 *
 * Other threads may open, close and rename meanwhile, so no lock is held and nothing is believed that was not there before and after: each name with its
 * parent by the dentry's own sequence count, the file with its inode's number in the task's table. What has changed is marked as unsure.
 *
 * Constants: OFF_… of isotrace/kernel/btf.py, DENTRY_FROM, DENTRY_WORDS.
 */
#ifndef ISOTRACE_TRACE_FILES_H
#define ISOTRACE_TRACE_FILES_H

#define SOCKFS_MAGIC 0x534f434b
#define NETLINK 16

#if defined(DESCRIPTORS) || defined(NETLINK_SOCKETS)

static __always_inline u64 file_of(u64 task, u32 number)
{
	u64 table = read_u64(read_u64(task + OFF_FILES) + OFF_FDT);

	if (number >= read_u32(table + OFF_MAX_FDS))
		return 0;
	return read_u64(read_u64(table + OFF_FD) + number * sizeof(u64));
}

#endif

/* With PLACES each file is looked at twice: its path is as its process sees it, then as its file system has it, which is where other processes see it. */
#if defined(PLACES)
#define TURNS 2
#else
#define TURNS 1
#endif

/* With NETLINK_SOCKETS: says of a netlink socket that it is one; returns how many bytes of its messages are copied, 0 of what is none. */
static __always_inline u32 note_netlink(struct scratch *scratch, struct captures *plan)
{
#if defined(NETLINK_SOCKETS)
	u64 file, sk;
	struct blob *blob;
	u32 protocol;

	if (!plan->netlink)
		return 0;
	file = file_of(bpf_get_current_task(), scratch->event.args[0]);
	sk = file ? read_u64(read_u64(file + OFF_F_PRIVATE) + OFF_SOCKET_SK) : 0;
	if (!sk || (u16)read_u32(sk + OFF_SK_FAMILY) != NETLINK)
		return 0;
	/* what is no socket has something else there */
	if (read_u32(read_u64(read_u64(file + OFF_F_INODE) + OFF_I_SB) + OFF_S_MAGIC) != SOCKFS_MAGIC)
		return 0;
	protocol = (u16)read_u32(sk + OFF_SK_PROTOCOL);
	blob = new_blob(scratch, 0, PART_NETLINK, protocol);
	if (!blob)
		return 0;
	close_blob(&scratch->event, blob, 0);
	return STRING_MAX;
#else
	return 0;
#endif
}

#if defined(DESCRIPTORS)

#define FILE_NAMES 896		/* bytes; two descriptors with all of theirs fit into BEFORE, with what else a call is given: tests/test_plan.py */
#define FILE_LEVELS 64
#define NAME_ROOM 256		/* NAME_MAX, and the NUL */

#define NSFS_MAGIC 0x6e736673
#define PIDFS_MAGIC 0x50494446
#define ANON_INODE_MAGIC 0x09041934
#define PIDFD_NAME 0x005d64666469705bULL	/* "[pidfd]" */

#define UNIX 1
#define INET 2
#define INET6 10
#define SUN_PATH 108

/* Where a file is; of a working directory `file` is 0. */
struct file_place {
	u64 file, mnt, dentry, inode, number;
};

/* On the way from a file up to the root. One a program that is attached, as of scratches, in which there is no room for it. */
struct file_walk {
	struct file_place place, again;
#if defined(RESOLVE) || defined(PLACES)
	u32 what, part;
#endif
	u64 dentry, mount, root;
	u64 at;			/* bytes of names */
	u64 head[DENTRY_WORDS];	/* of the dentry, from DENTRY_FROM on */
};
BPF_PERCPU_ARRAY(walks, struct file_walk, OWNERS);

static __always_inline u64 head_of(struct file_walk *walk, u32 offset)
{
	return walk->head[(offset - DENTRY_FROM) / sizeof(u64)];
}

static __always_inline u32 sequence_of(u64 dentry)
{
	return read_u32(dentry + OFF_D_SEQ);
}

enum { AT_NUMBER, AT_HOME, AT_ROOT };	/* what is looked at: a descriptor, the working directory, the root directory */

/* Where it is; returns whether there is one. */
static __always_inline int find_file(struct file_place *place, u32 number, int what)
{
	u64 task = bpf_get_current_task(), path;

	if (what != AT_NUMBER) {
#if defined(RESOLVE)
		path = read_u64(task + OFF_FS) + (what == AT_ROOT ? OFF_ROOT : OFF_PWD);
#else
		path = read_u64(task + OFF_FS) + OFF_PWD;
#endif
		place->file = 0;
	} else {
		place->file = file_of(task, number);
		path = place->file + OFF_F_PATH;
		if (!place->file)
			return 0;
	}
	place->mnt = read_u64(path + OFF_PATH_MNT);
	place->dentry = read_u64(path + OFF_PATH_DENTRY);
	place->inode = read_u64(what != AT_NUMBER ? place->dentry + OFF_D_INODE : place->file + OFF_F_INODE);
	place->number = read_u64(place->inode + OFF_I_INO);
	return 1;
}

static __always_inline int same_place(struct file_place *one, struct file_place *other)
{
	return one->file == other->file && one->mnt == other->mnt && one->dentry == other->dentry && one->inode == other->inode &&
	       one->number == other->number;
}

/* The name of the dentry whose head was read; returns whether it was still so afterwards, and there was room. */
static __always_inline int add_name(struct file_walk *walk, struct descriptor *found, u64 dentry)
{
	u32 sequence = walk->head[(OFF_D_SEQ - DENTRY_FROM) / sizeof(u64)] >> (OFF_D_SEQ - DENTRY_FROM) % sizeof(u64) * 8;
	char *names = (char *)(found + 1);
	u64 at = walk->at;
	long got;

	asm volatile("" : "+r"(at));
	at &= 1023;
	if (at > FILE_NAMES - NAME_ROOM) {
		found->state |= DESCRIPTOR_CUT;
		return 0;
	}
	got = read_kernel_string(names + at, NAME_ROOM, (void *)head_of(walk, OFF_D_NAME));
	if (got == 0) {		/* up to 6.12, of an empty string */
		names[at] = 0;
		got = 1;
	}
	if (got < 0 || (sequence & 1) || sequence_of(dentry) != sequence) {
		found->state |= DESCRIPTOR_UNSURE;
		return 0;
	}
	walk->at = at + got;
	return 1;
}

/* Goes on at the directory that the file system is mounted on; returns whether there is one. */
static __always_inline int climb_mount(struct file_walk *walk, struct descriptor *found)
{
	u64 above = read_u64(walk->mount + OFF_MOUNT_PARENT);

	if (above == walk->mount)
		return 0;
	walk->dentry = read_u64(walk->mount + OFF_MOUNT_POINT);
	if (read_u64(walk->mount + OFF_MOUNT_PARENT) != above) {
		found->state |= DESCRIPTOR_UNSURE;
		return 0;
	}
	walk->mount = above;
	walk->root = read_u64(above + OFF_MOUNT_MNT + OFF_MNT_ROOT);
	return 1;
}

/* Adds the dentry's name and goes on at the directory above; returns whether there is one. */
static __always_inline int climb_name(struct file_walk *walk, struct descriptor *found)
{
	u64 dentry = walk->dentry, parent;

	read_kernel(walk->head, sizeof(walk->head), (void *)(dentry + DENTRY_FROM));
	parent = head_of(walk, OFF_D_PARENT);
	if (dentry == walk->place.dentry) {
		if (parent == dentry)
			found->state |= DESCRIPTOR_ALONE;
		else if (!head_of(walk, OFF_D_HASHED))
			found->state |= DESCRIPTOR_DELETED;
	} else if (parent == dentry) {
		return 0;
	}
	walk->dentry = parent;
	return add_name(walk, found, dentry) && parent != dentry;
}

/* Its names, from its own up. */
static __always_inline void add_names(struct file_walk *walk, struct descriptor *found)
{
	u32 level = 0;

	_Pragma("nounroll")
	do {
		int more;

		if (walk->dentry == walk->root)
			more = climb_mount(walk, found);
		else
			more = climb_name(walk, found);
		level = more ? level + 1 : FILE_LEVELS + 1;
		/* One way out, and "unlikely" to go on, or the compiler has the end fall into the beginning: no loop that the verifier of 5.10 knows. */
		asm volatile("" : "+r"(level));
	} while (__builtin_expect(level < FILE_LEVELS, 0));
	if (level == FILE_LEVELS)
		found->state |= DESCRIPTOR_CUT;
}

static __always_inline void add_inet(struct endpoints *ends, u64 sk)
{
	ends->port = read_u32(sk + OFF_SK_PORT);
	ends->peer_port = __builtin_bswap16(read_u32(sk + OFF_SK_PEER_PORT));
	if (ends->family == INET) {
		read_kernel(ends->address, 4, (void *)(sk + OFF_SK_ADDRESS));
		read_kernel(ends->peer_address, 4, (void *)(sk + OFF_SK_PEER_ADDRESS));
	}
#if defined(OFF_SK_ADDRESS6)
	if (ends->family == INET6) {
		read_kernel(ends->address, 16, (void *)(sk + OFF_SK_ADDRESS6));
		read_kernel(ends->peer_address, 16, (void *)(sk + OFF_SK_PEER_ADDRESS6));
	}
#endif
}

/* Returns the bytes of the path. */
static __always_inline u64 add_unix(struct endpoints *ends, u64 sk)
{
#if defined(OFF_UNIX_PEER)
	u64 peer = read_u64(sk + OFF_UNIX_PEER), socket = 0, address = read_u64(sk + OFF_UNIX_ADDRESS);
	u32 size = 0;

	if (peer)
		socket = read_u64(peer + OFF_SK_SOCKET);
	if (socket)
		ends->peer = read_u64(socket + OFF_SOCKET_INODE + OFF_I_INO);
	if (address)
		size = read_u32(address + OFF_UNIX_LENGTH) - sizeof(u16);
	asm volatile("" : "+r"(size));
	size &= 127;
	if (size > SUN_PATH)
		return 0;
	read_kernel(ends + 1, size, (void *)(address + OFF_UNIX_NAME + sizeof(u16)));
	return size;
#else
	return 0;
#endif
}

static __always_inline void add_endpoints(struct file_walk *walk, struct descriptor *found)
{
	struct endpoints *ends = (void *)(found + 1);
	u64 sk = read_u64(read_u64(walk->place.file + OFF_F_PRIVATE) + OFF_SOCKET_SK);

	__builtin_memset(ends, 0, sizeof(*ends));
	walk->at = sizeof(*ends);
	if (!sk)
		return;
	ends->family = read_u32(sk + OFF_SK_FAMILY);
	ends->protocol = read_u32(sk + OFF_SK_PROTOCOL);
	read_kernel_string(ends->name, sizeof(ends->name), (void *)(read_u64(sk + OFF_SK_CREATOR) + OFF_PROTO_NAME));
	if (ends->family == UNIX)
		walk->at = sizeof(*ends) + add_unix(ends, sk);
	else if (ends->family == INET || ends->family == INET6)
		add_inet(ends, sk);
#if defined(OFF_NETLINK_PORT)
	else if (ends->family == NETLINK)
		ends->peer = read_u32(sk + OFF_NETLINK_PORT);
#endif
}

/* The process of a pidfd, by the number that it has for isotrace; 0 when it is gone. */
static __always_inline u64 process_of(u64 pid)
{
	return read_u64(pid + OFF_PID_TASKS) ? number_of_pid(pid) : 0;
}

/* Of namespaces the kind of it, of pidfds the process. */
static __always_inline void add_particulars(struct file_walk *walk, struct descriptor *found)
{
	u64 private = read_u64(walk->place.inode + OFF_I_PRIVATE), operations;
	char *names = (char *)(found + 1);

	if (found->magic == PIDFS_MAGIC) {
		found->other = process_of(private);
	} else if (found->magic == NSFS_MAGIC) {
		operations = read_u64(private + OFF_NS_OPERATIONS);
		read_kernel_string(names, NAME_ROOM, (void *)read_u64(operations + OFF_NS_NAME));
		walk->at = NAME_ROOM;
	} else if (found->magic == ANON_INODE_MAGIC && *(u64 *)names == PIDFD_NAME) {
		found->other = process_of(read_u64(walk->place.file + OFF_F_PRIVATE));
	}
}

static __always_inline void describe(struct file_walk *walk, struct descriptor *found)
{
	u64 inode = walk->place.inode;

	__builtin_memset(found, 0, sizeof(*found) + sizeof(u64));
	found->inode = walk->place.number;
	found->other = read_u32(inode + OFF_I_RDEV);
	found->mode = read_u32(inode + OFF_I_MODE);
	found->magic = read_u32(read_u64(inode + OFF_I_SB) + OFF_S_MAGIC);
	walk->at = 0;
	if (found->magic == SOCKFS_MAGIC && walk->place.file) {
		add_endpoints(walk, found);
		return;
	}
	walk->dentry = walk->place.dentry;
	walk->mount = walk->place.mnt - OFF_MOUNT_MNT;
	walk->root = read_u64(walk->place.mnt + OFF_MNT_ROOT);
#if defined(PLACES)
	if (walk->part == PART_PLACE) {
		found->other = read_u32(read_u64(inode + OFF_I_SB) + OFF_S_DEV);
		walk->root = 0;		/* no dentry is: up to the last */
	}
#endif
	add_names(walk, found);
#if defined(PLACES)
	if (walk->part == PART_PLACE)
		return;
#endif
	add_particulars(walk, found);
}

#if defined(RESOLVE)
/* How often the process has changed its working or root directory, twice; odd while it does. */
static __always_inline u32 directory_changes(void)
{
	return read_u32(read_u64(bpf_get_current_task() + OFF_FS) + OFF_FS_SEQ);
}
#endif

/* What the descriptor or directory is, to the record. */
static __always_inline void capture_file(struct scratch *scratch, u32 owner, u8 arg, u8 part, s32 number, u32 what)
{
	struct blob *blob = new_blob(scratch, arg, part, (s64)number);
	struct file_walk *walk = walks.lookup(&owner);
	struct descriptor *found;
	u64 size = 0;

	if (!blob || !walk)
		return;
#if defined(RESOLVE)
	u32 changes = directory_changes();
#endif
#if defined(RESOLVE) || defined(PLACES)
	/* By way of memory, or the verifier goes through all that follows once for each. */
	walk->what = what;
	walk->part = part;
	asm volatile("" : : : "memory");
	what = walk->what;
#endif
	found = (void *)(blob + 1);
	if (find_file(&walk->place, number, what)) {
		describe(walk, found);
		if (!find_file(&walk->again, number, what) || !same_place(&walk->place, &walk->again))
			found->state |= DESCRIPTOR_UNSURE;
#if defined(RESOLVE)
		if (walk->part == PART_BASE) {
			found->other = changes;
			if (directory_changes() != changes)
				found->state |= DESCRIPTOR_UNSURE;
		}
#endif
		size = walk->at;
		asm volatile("" : "+r"(size));
		size = sizeof(*found) + (size & 1023);
	}
	close_blob(&scratch->event, blob, size);
}

static __always_inline s32 read_number(u64 address)
{
	u64 value = 0;

	if (read_user(&value, sizeof(u32), (void *)address))
		return -1;
	return (s32)value;
}

/* What descriptor the argument is; `directory`: AT_FDCWD is one as well. */
static __always_inline void capture_descriptor(struct scratch *scratch, u32 owner, u8 arg, u8 part, s32 number, int directory)
{
	capture_file(scratch, owner, arg, part, number, directory && number == BASE_HOME ? AT_HOME : AT_NUMBER);
}

/* What the row asks for, a descriptor or where a path begins. */
static __always_inline void capture_row(struct scratch *scratch, u32 owner, struct capture *one, u32 again)
{
	struct event *event = &scratch->event;
	s32 number = event->args[one->arg & 7];
	int what = AT_NUMBER;
	u8 part = again ? PART_PLACE : PART_FILE;

#if defined(RESOLVE)
	char first = 0;

	if (one->op == OP_BASE) {
		part = PART_BASE;
		read_user(&first, 1, (void *)event->args[one->arg & 7]);
		number = one->unit ? event->args[(one->unit - 1) & 7] : BASE_HOME;
	}
	if (first == '/') {
		number = BASE_ROOT;
		what = AT_ROOT;
	} else
#endif
	if (number == BASE_HOME && (one->unit || part == PART_BASE))
		what = AT_HOME;
	capture_file(scratch, owner, one->arg, part, number, what);
}

/* Where the call's paths begin, when it has ended: what is not so any more cannot be relied on. */
static __always_inline void capture_bases(struct scratch *scratch, u32 slot)
{
#if defined(RESOLVE)
	struct captures *plan = befores.lookup(&slot);

	if (!plan)
		return;
	_Pragma("nounroll")
	for (u32 i = 0; i < CAPTURES; i++) {
		struct capture *one = &plan->list[i];

		if (one->op == OP_BASE)
			capture_row(scratch, AT_EXIT, one, 0);
	}
#endif
}

/* Those that the call has made. */
static __always_inline void capture_made(struct scratch *scratch, u32 files)
{
	struct event *event = &scratch->event;
	u32 count = files == FILES_RESULT ? 1 : 2;

	if (!files || failed(event))
		return;
	_Pragma("nounroll")
	for (u32 i = 0; i < 2 * TURNS; i++) {
		u64 number = event->result;
		u8 arg = BLOB_RESULT;

		if (i / TURNS >= count)
			break;
		if (files != FILES_RESULT) {
			arg = (files - FILES_PAIR) & 7;
			number = read_number(event->args[arg] + i / TURNS * sizeof(u32));
		}
		capture_file(scratch, AT_EXIT, arg, i % TURNS ? PART_PLACE : PART_FILE, number, AT_NUMBER);
	}
}

#endif
#endif
