/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The standing rule "protects isotrace": what would end isotrace, change it or take its place, or switch its programs off, is refused to the target.
 * A judge says whether the rule applies (enforce/hooks/standing.py has the table of hooks).
 */
#ifndef ISOTRACE_BLOCK_GUARD_H
#define ISOTRACE_BLOCK_GUARD_H

#define GUARD_OUTER 1		/* isotrace runs in it: a shell, sudo */
#define GUARD_OWN 2		/* isotrace's own, with its children unless they are the target */

#define SIGCONT 18
#define TIOCSTI 0x5412
#define TIOCLINUX 0x541C
#define PTRACE_MODE_ATTACH 0x02
#define PTRACE_MODE_NOAUDIT 0x04

#define PROC_MAGIC 0x9fa0
#define DEBUGFS_MAGIC 0x64626720
#define TRACEFS_MAGIC 0x74726163
#define SYSFS_MAGIC 0x62656572
#define CGROUP1_MAGIC 0x27e0eb
#define CGROUP2_MAGIC 0x63677270

#define BPF_COMMAND_PROG_LOAD 5
#define BPF_COMMAND_PROG_BY_ID 13
#define BPF_COMMAND_MAP_BY_ID 14
#define BPF_COMMAND_LINK_BY_ID 30
/*
 * Types of programs that may be loaded: 1 socket_filter, 3 sched_cls, 4 sched_act, 6 xdp, 8 cgroup_skb, 9 cgroup_sock, 10 to 12 lwt, 13 sock_ops,
 * 14 sk_skb, 15 cgroup_device, 16 sk_msg, 19 lwt_seg6local, 20 lirc, 21 sk_reuseport, 22 flow_dissector, 25 cgroup_sockopt, 32 netfilter. Others run in
 * any task's context: they can send isotrace a signal, or write into its memory, and no hook sees that; 18 cgroup_sock_addr and 30 sk_lookup have a
 * socket meet another address than the hooks have judged.
 */
#define HARMLESS_TYPES (0x7ULL << 10 | 0xfULL << 13 | 0xfULL << 19 | 1ULL << 1 | 1ULL << 3 | 1ULL << 4 | 1ULL << 6 | 1ULL << 8 | 1ULL << 9 | \
			1ULL << 25 | 1ULL << 32)

BPF_HASH(guarded, u32, u32, 1024);		/* thread groups, and isotrace's threads, → GUARD_…, or 0: see guard_of() */
BPF_HASH(guarded_objects, u64, u32, 1024);	/* bpf() command that gets an object by its number << 32 | number */

BPF_ARRAY(heartbeat, u64, 1);			/* how often isotrace itself came to the hook HEARTBEAT */

/* So that isotrace can tell whether the kernel still runs its programs. */
static __always_inline void beat(struct who *who, u32 hook)
{
#if defined(HEARTBEAT)
	u32 zero = 0;
	u64 *value = hook == HEARTBEAT && who->pid == SELF ? heartbeat.lookup(&zero) : NULL;

	if (value)
		(*value)++;
#endif
}

/* GUARD_… of a task, or 0: for isotrace's children, too, that whoever executed it had before. */
static __always_inline u32 guard_of(u64 task)
{
	u32 pid = TGID_OF(task), parent = TGID_OF(read_u64(task + OFF_REAL_PARENT));
	u32 *found = guarded.lookup(&pid);

	if (found)
		return *found;
	found = guarded.lookup(&parent);
	if (!found || *found != GUARD_OWN)
		return 0;
#if defined(FILTER_TREE)
	if (tree_state(pid))
		return 0;
#endif
	return GUARD_OWN;
}

/* task_kill(task, info, signal, cred): nothing is sent by 0, which asks whether the process is there */
static __always_inline int guard_kill(u64 *ctx)
{
	u32 signal = number_of(ctx[2]);

	return signal && signal != SIGCONT && guard_of(number_of(ctx[0]));
}

/* file_send_sigiotask(task, owner, signal): SIGIO, or what F_SETSIG chose in its place, by whoever wrote to the file */
static __always_inline int guard_sigio(u64 *ctx)
{
	return guard_of(number_of(ctx[0])) != 0;
}

/* ptrace_access_check(task, mode). What is asked for without being audited leaves out a few fields of /proc/PID/stat: nothing is shown of it. */
static __always_inline int guard_ptrace(u64 *ctx)
{
	u32 mode = number_of(ctx[1]), guard;

	if (mode & PTRACE_MODE_NOAUDIT)
		return 0;
	guard = guard_of(number_of(ctx[0]));
	return guard == GUARD_OWN || (guard && (mode & PTRACE_MODE_ATTACH));
}

/* ptrace_traceme(parent): a command would make isotrace its tracer */
static __always_inline int guard_traceme(u64 *ctx)
{
	return guard_of(number_of(ctx[0])) == GUARD_OWN;
}

/* task_setrlimit(task, resource, limit): RLIMIT_CPU kills */
static __always_inline int guard_limits(u64 *ctx)
{
	return guard_of(number_of(ctx[0])) != 0;
}

/* bpf(command, attr, size); attr is the kernel's copy */
static __always_inline int guard_bpf(u64 *ctx)
{
	u32 command = number_of(ctx[0]), first = read_u32(number_of(ctx[1]));
	u64 key = (u64)command << 32 | first;

	if (command == BPF_COMMAND_PROG_LOAD)
		return first >= 64 || !((HARMLESS_TYPES >> first) & 1);
	return guarded_objects.lookup(&key) != NULL;
}

/* perf_event_open(attr, type). With attr.sigtrap (5.13) it sends signals, for which CAP_KILL is asked for, and no other hook. */
static __always_inline int guard_perf(u64 *ctx)
{
	u64 task = CURRENT(), args[6];
	s32 number;
	u32 pid, *found;

	if (read_u32(read_u64(task + OFF_THREAD_PID) + OFF_PID_LEVEL) != PID_LEVEL)
		return 0;	/* in a pid namespace of its own no number means isotrace */
	number = (s32)original_number(registers_of(task));
	current_args(args, abi_of(task, number), registers_of(task));
	pid = number_of((u32)args[1]);
	found = guarded.lookup(&pid);
	return found && *found;
}

/* perf_event_alloc(event): a probe in the middle of an instruction, of a program or library that isotrace runs, too, ends who comes by. */
static __always_inline int guard_probe(u64 *ctx)
{
	char name[8] = {};

	read_kernel_string(name, sizeof(name), (void *)read_u64(read_u64(number_of(ctx[0]) + OFF_EVENT_PMU) + OFF_PMU_NAME));
	return *(u64 *)name == 0x65626f727075ULL || *(u64 *)name == 0x65626f72706bULL;	/* "uprobe", "kprobe" */
}

/*
 * file_ioctl(file, command, argument), and its like for 32-bit programs: what is typed into a terminal, others do who read there. TIOCSTI types,
 * TIOCLINUX pastes into a console.
 */
static __always_inline int guard_typing(u64 *ctx)
{
	u32 command = ctx[1];

	return command == TIOCSTI || command == TIOCLINUX;
}

/* Up to 16 bytes of a file's name, as two numbers. */
struct guard_name {
	u64 half[2];
};

static __always_inline int is_named(struct guard_name *name, const char *text, u32 length)
{
	struct guard_name wanted = {};

	__builtin_memcpy(&wanted, text, length);
	return name->half[0] == wanted.half[0] && name->half[1] == wanted.half[1];
}

/* The kernel starts the program that was written there: as root, and outside of the target. */
static __always_inline int starts_programs(struct guard_name *name)
{
	return is_named(name, "core_pattern", 12) || is_named(name, "modprobe", 8) || is_named(name, "poweroff_cmd", 12) ||
	       is_named(name, "hotplug", 7) || is_named(name, "uevent_helper", 13) || is_named(name, "release_agent", 13);
}

/* A file of /proc/PID of a guarded process, or one by which the kernel's programs are switched off or processes are killed. */
static __always_inline int guard_proc(u64 inode, struct guard_name *name)
{
	u64 pid = read_u64(inode - OFF_PROC_VFS_INODE + OFF_PROC_PID), first;

	if (pid) {
		first = read_u64(pid + OFF_PID_TASKS);
		return first && guard_of(first - OFF_PID_LINKS) != 0;
	}
	return is_named(name, "ftrace_enabled", 14) || is_named(name, "sysrq-trigger", 13) || starts_programs(name);
}

/* file_open(file), for writing */
static __always_inline int guard_open(u64 *ctx)
{
	u64 file = ctx[0], inode, dentry, magic;
	struct guard_name name = {};

	if (!(*(u32 *)(file + OFF_F_FLAGS) & O_ACCMODE))
		return 0;
	inode = *(u64 *)(file + OFF_FILE_INODE);
	magic = *(u64 *)(*(u64 *)(inode + OFF_I_SB) + OFF_S_MAGIC);
	if (magic == DEBUGFS_MAGIC || magic == TRACEFS_MAGIC)
		return 1;
	if (magic != PROC_MAGIC && magic != CGROUP2_MAGIC && magic != CGROUP1_MAGIC && magic != SYSFS_MAGIC)
		return 0;
	dentry = number_of(*(u64 *)(file + OFF_F_PATH + OFF_PATH_DENTRY));
	read_kernel_string(&name, sizeof(name), (void *)read_u64(dentry + OFF_D_NAME));
	if (magic == PROC_MAGIC)
		return guard_proc(number_of(inode), &name);
	return is_named(&name, "cgroup.kill", 11) || starts_programs(&name);
}

#endif
