/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The standing rule "no detour by others", part of every policy with rules on paths: what would have a process outside the target, or the kernel itself,
 * do what the target may not. A judge says whether the rule applies (isotrace/enforce/hooks/standing.py has the table of hooks).
 */
#ifndef ISOTRACE_BLOCK_OUTSIDE_H
#define ISOTRACE_BLOCK_OUTSIDE_H

#define S_IFCHR 0020000
#define S_IFBLK 0060000
#define FS_REQUIRES_DEV 1

/*
 * Whether a task that is not the current one is in the target, so that what is refused to the one is refused to the other: never isotrace, the machine's
 * init, or who is not to be seen. What cannot be asked about another task is taken to be so for one's own group alone.
 */
static __always_inline int is_inside(u64 task)
{
	u32 pid = TGID_OF(task);

	if (pid == SELF || !IS_SEEN(pid) || IS_INIT(pid))
		return 0;
#if defined(SPARED)
	if (SPARED(pid))
		return 0;
#endif
	if (pid == OWN_TGID())
		return 1;
	if (is_followed(pid))
		return 1;
	if (!may_be_target(pid))
		return 0;
#if defined(FILTER_PPID) || defined(FILTER_PPIDS)
	if (!has_the_parent(TGID_OF(read_u64(task + OFF_REAL_PARENT))))
		return 0;
#endif
#if defined(FILTER_UID)
	if (read_u32(read_u64(task + OFF_CRED) + OFF_UID) != FILTER_UID)
		return 0;
#endif
#if defined(FILTER_COMM)
	u64 name[2] = { read_u64(task + OFF_COMM), read_u64(task + OFF_COMM + 8) };

	if (!is_the_name(name))
		return 0;
#endif
#if defined(FILTER_CGROUP) || defined(FILTER_CGROUP_WAITED)
	return read_u64(read_u64(task + OFF_TASK_CGROUPS) + OFF_CSS_DEFAULT) ==
	       read_u64(read_u64(bpf_get_current_task() + OFF_TASK_CGROUPS) + OFF_CSS_DEFAULT);
#else
	return 1;
#endif
}

/* ptrace_access_check(task, mode): also /proc/PID/mem, process_vm_writev, pidfd_getfd */
static __always_inline int outside_ptrace(u64 *ctx)
{
	return (number_of(ctx[1]) & PTRACE_MODE_ATTACH) && !is_inside(number_of(ctx[0]));
}

/* Devices that anybody may have: an overlay's whiteout, null, zero, full, random, urandom, tty, console, ptmx. As mknod(2) takes them. */
static __always_inline int is_harmless(u32 device)
{
	return device == 0 || device == 0x103 || device == 0x105 || (device >= 0x107 && device <= 0x109) || (device >= 0x500 && device <= 0x502);
}

/* path_mknod(dir, dentry, mode, dev) */
static __always_inline int outside_mknod(u64 *ctx)
{
	u32 kind = number_of(ctx[2]) & S_IFMT, device = number_of(ctx[3]);

	return kind == S_IFBLK || (kind == S_IFCHR && !is_harmless(device));
}

/*
 * sb_set_mnt_opts(sb, …), where the target gets the file system for a mount, a new one or one that is there: what lies on a device may be the content of
 * another file system, and a kernel thread opens the files below an ecryptfs.
 */
static __always_inline int outside_superblock(u64 *ctx)
{
	u64 type = read_u64(number_of(ctx[0]) + OFF_S_TYPE);
	char name[9] = {};

	if (read_u32(type + OFF_FS_FLAGS) & FS_REQUIRES_DEV)
		return 1;
	read_kernel_string(name, sizeof(name), (void *)read_u64(type + OFF_FS_NAME));
	return *(u64 *)name == 0x7366747079726365ULL;	/* "ecryptfs" */
}

/* sb_pivotroot(old_path, new_path): another root has other files at the paths of rules, and who had the old one has it, too. */
static __always_inline int outside_pivot(u64 *ctx)
{
	return 1;
}

#define BTRFS 0x94	/* of _IOC_TYPE */
#define BCACHEFS 0xbc
#define XFS 'X'

/*
 * file_ioctl(file, command, …): a snapshot has what is in a directory under names that no rule is on; a subvolume that is removed, a tree that is read or
 * sent, attributes that are set by a handle come to no hook.
 */
static __always_inline int outside_ioctl(u64 *ctx)
{
	u32 command = number_of(ctx[1]), type = (command >> 8) & 0xff, number = command & 0xff;

	if (type == BTRFS)	/* SNAP_CREATE, SNAP_DESTROY, TREE_SEARCH, SNAP_CREATE_V2, SEND, TREE_SEARCH_V2 has the same number, SNAP_DESTROY_V2 */
		return number == 1 || number == 15 || number == 17 || number == 23 || number == 38 || number == 63;
	if (type == BCACHEFS)	/* SUBVOLUME_CREATE, SUBVOLUME_DESTROY */
		return number == 16 || number == 17;
	return type == XFS && number == 123;	/* ATTRMULTI_BY_HANDLE */
}

#if defined(PATH_ACCESSES)
#define MS_REMOUNT 0x20
#define MS_BIND 0x1000
#define MS_PROPAGATION 0x1e0000	/* MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED */

/* What others find at a path is another thing once something is mounted over it, as if it were exchanged. */
static __always_inline u32 judge_covered(struct judged *judged, u64 path)
{
	u64 dentry = read_u64(path + OFF_PATH_DENTRY), mount = mount_of(path);
	struct walk walk;
	u32 rule = judge_by(&walk, judged, dentry, mount, ACCESS_WRITE | ACCESS_MOVE);

	if (rule)
		return rule;
	judged->dentry = dentry;
	judged->mount = mount;
	rule = fixture_rule(dentry);
#if defined(GLOBS) && PATH_ACCESSES & ACCESS_WRITE
	if (!rule)
		rule = rule_of_bits(walk.leads.moves[0] & ~EVERYWHERE_LOW, walk.leads.moves[1] & ~EVERYWHERE_HIGH);
#endif
	return rule;
}

/* sb_mount(dev_name, path, type, flags, data). In the order of path_mount(), where MS_BIND comes before what changes how mounts spread. */
static __always_inline u32 judge_mount(u64 *ctx, struct judged *judged)
{
	u64 flags = number_of(ctx[3]);

	if ((flags & MS_REMOUNT) || (!(flags & MS_BIND) && (flags & MS_PROPAGATION)))
		return 0;
	return judge_covered(judged, number_of(ctx[1]));
}

/* move_mount(from_path, to_path): also of a mount that was attached nowhere */
static __always_inline u32 judge_attached(u64 *ctx, struct judged *judged)
{
	return judge_covered(judged, number_of(ctx[1]));
}
#endif

#endif
