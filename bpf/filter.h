/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is watched. The target is compiled in; each FILTER_ constant that is defined is one condition, all must hold.
 *
 *	SELF			never matched: isotrace's own thread group
 *	SPARED(pid)		thread groups that are not matched either
 *	FILTER_PPID=N		thread group of real_parent, as it is now
 *	FILTER_PID=N		thread group
 *	FILTER_UID=N		real uid
 *	FILTER_PPIDS, FILTER_PIDS	the same of several, which `chosen` has
 *	FILTER_COMM_0, _1	the 16 bytes of the name, as two integers
 *	FILTER_COMM_WORDS=N	or patterns of it: their table, of N words a byte, is `comm_bytes` (isotrace/trace/names.py)
 *	FILTER_CGROUP=ID, FILTER_CGROUP_LEVEL=N	in that cgroup or below it
 *	FILTER_CGROUP_WAITED	or in the one that `waited` has: it changes while the programs run, and is nobody's at times
 *	FILTER_TREE		in `tree`
 *	FOLLOW			or in `followed`: what has matched once, and its descendants
 *	KEPT			or in `followed`: what has matched once, also as a child of what has --comm's name, up to an execve under another
 */
#ifndef ISOTRACE_FILTER_H
#define ISOTRACE_FILTER_H

#define MEMBER_ARMED 1		/* a command not yet started: watched from its execve on */
#define MEMBER_ACTIVE 2
#define MEMBER_ENDED 3		/* its last thread is on its way out: a zombie, or nobody */

#if defined(FOLLOW) || defined(KEPT)
#define FOLLOWED
#endif
#if defined(FILTER_TREE) || defined(FOLLOWED)
#define DESCENDANTS
#endif
/* Who is watched now may not be when its call ends, or the other way round. */
#if !defined(FOLLOWED) && (defined(FILTER_COMM_0) || defined(FILTER_COMM_WORDS) || defined(FILTER_PPID) || defined(FILTER_PPIDS) || \
			   defined(FILTER_UID) || defined(FILTER_CGROUP) || defined(FILTER_CGROUP_WAITED))
#define CHANGES
#endif

/*
 * A constant that is filled in when the program is loaded (isotrace/backends/compiled.py), so that what is compiled can be kept: the compiler
 * sees a 64-bit load whose value it must not guess. `number` is the position in PARAMETERS there, written in hexadecimal with two digits.
 */
#define PARAMETER(number)									\
({												\
	u64 parameter_;										\
	asm volatile("%0 = 0x69736f74720000" #number " ll" : "=r"(parameter_));			\
	parameter_;										\
})

struct who {
	u64 task;
	u32 pid;
	u32 ppid;
};

/*
 * The state of every thread group that there can be: a byte each, so that there is room for all, whatever they do. Who is born gets the state that
 * is due to it, member or not, and the last thread to go changes it to MEMBER_ENDED: nothing is ever removed by a number that may be somebody
 * else's by then. Arrays in pages, so that user space can map them and look through them in no time.
 */
#define PIDS_A_PAGE 4096
#define PID_PAGES 1024		/* PID_MAX_LIMIT on 64 bits is 4 Mi, include/linux/threads.h */
struct pids {
	u8 state[PIDS_A_PAGE];
};
#define BPF_PIDS(name) BPF_F_TABLE("array", u32, struct pids, name, PID_PAGES, BPF_F_MMAPABLE)

#if defined(FILTER_TREE)
BPF_PIDS(tree);
#endif
#if defined(FILTER_PIDS) || defined(FILTER_PPIDS)
#define CHOSEN_PID 1
#define CHOSEN_PPID 2
BPF_PIDS(chosen);
#endif
#if defined(FILTER_COMM_WORDS)
#define COMM_REPEATING 256
#define COMM_BEGIN 257
BPF_ARRAY(comm_bytes, u64, 258 * FILTER_COMM_WORDS);
#endif
#if defined(FILTER_COMM_0) || defined(FILTER_COMM_WORDS)
#define FILTER_COMM
#endif
#if defined(FILTER_CGROUP_WAITED)
/* Read while it is written it may be one cgroup's id with another's level: no cgroup has that id at that level, so that nobody is taken for its. */
struct waited {
	u64 id;		/* 0: nobody is watched */
	u64 level;
};
BPF_ARRAY(waited, struct waited, 1);
#endif
#if defined(FOLLOWED)
BPF_PIDS(followed);
#endif
#if defined(DESCENDANTS)
/* child → parent of every fork seen while the maps above are being filled from /proc */
BPF_HASH(births, u32, u32, 65536);
BPF_ARRAY(seeding, u32, 1);
BPF_ARRAY(joined, u64, 1);	/* how many have become members: who looks through a map and finds nobody knows by it that nobody came meanwhile */
#endif

/*
 * The kernel's helpers under names of our own: for each call to bpf_probe_read_user by its name, BCC reads all of /proc/kallsyms to see
 * whether the kernel has it (0.1 s each); isotrace needs 5.8 for the ring buffer, which is younger.
 */
static long (*read_user)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user;
static long (*read_user_string)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user_str;
static long (*read_kernel)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_kernel;
static long (*read_kernel_string)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_kernel_str;

static __always_inline u64 read_u64(u64 address)
{
	u64 value = 0;

	read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

/* In eight bytes: of a part of a stack slot the verifier does not note that it was written, and goes on telling apart what was there before. */
static __always_inline u32 read_u32(u64 address)
{
	u64 value = 0;

	read_kernel(&value, sizeof(u32), (void *)address);
	return value;
}

/*
 * The current task and what its members point to. With DIRECT (helpers of 5.11 and 5.15, which the verifier knows the types of) they are plain
 * loads, a tenth of the cost of a read through a helper. The task's address must come from CURRENT() then.
 */
#if defined(DIRECT)
#define CURRENT() ((u64)bpf_get_current_task_btf())
#define MEMBER_U64(address) (*(u64 *)(address))
#define MEMBER_U32(address) (*(u32 *)(address))
#else
#define CURRENT() bpf_get_current_task()
#define MEMBER_U64(address) read_u64(address)
#define MEMBER_U32(address) read_u32(address)
#endif

/*
 * The numbers of processes and threads, as isotrace's own pid namespace has them. Where that is not the initial one, PID_NS is its address, and PID_LEVEL
 * how many are above it: a task has a number at every level down to its own. 0 is one that cannot be seen from there: it is never watched, and never to be
 * taken for the 0 of a map that says nobody. A number that
 * stays in the kernel, as a key, may be the initial namespace's, which costs nothing.
 */
struct number {			/* struct upid, include/linux/pid.h */
	u64 number;		/* an int, and what is between */
	u64 namespace;
};
#define PIDTYPE_TGID 1		/* since 4.19, commit 6883f81aac6f */
#define PID_OF_GROUP(signal) read_u64((signal) + OFF_SIGNAL_PIDS + sizeof(u64) * PIDTYPE_TGID)

#if defined(PID_NS)

static __always_inline u32 number_of_pid(u64 pid)
{
	struct number found = {};

	if (!pid || read_u32(pid + OFF_PID_LEVEL) < PID_LEVEL)
		return 0;
	read_kernel(&found, sizeof(found), (void *)(pid + OFF_PID_NUMBERS + sizeof(found) * PID_LEVEL));
	return found.namespace == PID_NS ? (u32)found.number : 0;
}

#define TGID_OF(task) number_of_pid(PID_OF_GROUP(read_u64((task) + OFF_SIGNAL)))
#define PID_OF(task) number_of_pid(read_u64((task) + OFF_THREAD_PID))
#define OWN_TGID() number_of_pid(MEMBER_U64(MEMBER_U64(CURRENT() + OFF_SIGNAL) + OFF_SIGNAL_PIDS + sizeof(u64) * PIDTYPE_TGID))
#define OWN_PID() number_of_pid(MEMBER_U64(CURRENT() + OFF_THREAD_PID))
#define OWN_IDS() ((u64)OWN_TGID() << 32 | OWN_PID())
#define OWN_TGID_OF(ids) OWN_TGID()
#define PARENT_OF(task) TGID_OF(MEMBER_U64((task) + OFF_REAL_PARENT))
#define IS_SEEN(pid) ((pid) != 0)
#define IS_INIT(pid) 0		/* no other namespace sees it */
#else
#define PID_LEVEL 0
#define number_of_pid(pid) read_u32((pid) + OFF_PID_NUMBERS)
#define TGID_OF(task) read_u32((task) + OFF_TGID)
#define PID_OF(task) read_u32((task) + OFF_PID)
#define OWN_IDS() bpf_get_current_pid_tgid()	/* thread group << 32 | thread */
#define OWN_TGID_OF(ids) ((ids) >> 32)		/* what they say, where they have been asked for already */
#define OWN_TGID() ((u32)(OWN_IDS() >> 32))
#define OWN_PID() ((u32)OWN_IDS())
#define PARENT_OF(task) MEMBER_U32(MEMBER_U64((task) + OFF_REAL_PARENT) + OFF_TGID)
#define IS_SEEN(pid) 1
#define IS_INIT(pid) ((pid) == 1)
#endif

static __always_inline u32 parent_of(u64 task)
{
	return PARENT_OF(task);
}

static __always_inline u32 real_uid(u64 task)
{
	return MEMBER_U32(MEMBER_U64(task + OFF_CRED) + OFF_UID);
}

/* Whether all threads of the task's group have come to their end: from sched_process_exit on that is so of the last one, maybe of others too. */
static __always_inline int group_ended(u64 task)
{
	return !MEMBER_U32(MEMBER_U64(task + OFF_SIGNAL) + OFF_LIVE);
}

#if defined(FILTER_CGROUP) || defined(FILTER_CGROUP_WAITED)
/* Up to 6.0 a cgroup has its ancestors' ids; the helper, which 5.10 does not give to tracing programs, is for kernels where it has not. */
static __always_inline u64 cgroup_above(u64 task, u32 level)
{
#if defined(OFF_ANCESTOR_IDS)
	u64 cgroup = read_u64(read_u64(task + OFF_CGROUPS) + OFF_DFL_CGRP);

	if ((s32)read_u32(cgroup + OFF_CGROUP_LEVEL) < (s32)level)
		return 0;
	return read_u64(cgroup + OFF_ANCESTOR_IDS + 8 * (u64)level);
#else
	return bpf_get_current_ancestor_cgroup_id(level);
#endif
}
#endif

static __always_inline int has_the_cgroup(u64 task)
{
#if defined(FILTER_CGROUP_WAITED)
	u32 zero = 0;
	struct waited *wanted = waited.lookup(&zero);

	return wanted && wanted->id && cgroup_above(task, wanted->level) == wanted->id;
#elif defined(FILTER_CGROUP)
	return cgroup_above(task, FILTER_CGROUP_LEVEL) == FILTER_CGROUP;
#else
	return 1;
#endif
}

/*
 * *where += number, of which CPUs may do some at once. The compiler's own may be one that also fetches what was there, which the kernel takes from
 * 5.12 on.
 */
static __always_inline void add_at_once(u64 *where, u64 number)
{
	asm volatile("lock *(u64 *)(%0 + 0) += %1" : : "r"(where), "r"(number) : "memory");
}

#if defined(DESCENDANTS)
static __always_inline void count_joined(void)
{
	u32 zero = 0;
	u64 *count = joined.lookup(&zero);

	if (count)
		add_at_once(count, 1);
}

#endif

#if defined(FILTER_TREE)
static __always_inline u32 tree_state(u32 pid)
{
	u32 page = pid / PIDS_A_PAGE;
	struct pids *found = tree.lookup(&page);

	return found ? found->state[pid & (PIDS_A_PAGE - 1)] : 0;
}

static __always_inline void set_tree(u32 pid, u8 state)
{
	u32 page = pid / PIDS_A_PAGE;
	struct pids *found = tree.lookup(&page);

	if (found)
		found->state[pid & (PIDS_A_PAGE - 1)] = state;
	if (state == MEMBER_ACTIVE)
		count_joined();
}
#endif

#if defined(FOLLOWED)
static __always_inline u32 followed_state(u32 pid)
{
	u32 page = pid / PIDS_A_PAGE;
	struct pids *found = followed.lookup(&page);

	return found ? found->state[pid & (PIDS_A_PAGE - 1)] : 0;
}

static __always_inline void set_followed(u32 pid, u8 state)
{
	u32 page = pid / PIDS_A_PAGE;
	struct pids *found = followed.lookup(&page);

	if (found)
		found->state[pid & (PIDS_A_PAGE - 1)] = state;
	if (state == MEMBER_ACTIVE)
		count_joined();
}
#endif

static __always_inline int in_tree(u32 pid)
{
#if defined(FILTER_TREE)
	return tree_state(pid) >= MEMBER_ACTIVE;
#else
	return 1;
#endif
}

static __always_inline int is_followed(u32 pid)
{
#if defined(FOLLOWED)
	return followed_state(pid) >= MEMBER_ACTIVE;
#else
	return 0;
#endif
}

/* Who has matched once stays: another name or parent does not free it. */
static __always_inline void keep(u32 pid)
{
#if defined(FOLLOWED)
	if (!is_followed(pid))
		set_followed(pid, MEMBER_ACTIVE);
#endif
}

#if defined(FILTER_PIDS) || defined(FILTER_PPIDS)
static __always_inline int is_chosen(u32 pid, u8 as)
{
	u32 page = pid / PIDS_A_PAGE;
	struct pids *found = chosen.lookup(&page);

	return found && found->state[pid & (PIDS_A_PAGE - 1)] & as;
}
#endif

/* The conditions that need nothing but the pid: whoever they leave out pays for no more than them. */
static __always_inline int may_be_target(u32 pid)
{
#if defined(FILTER_PIDS)
	if (!is_chosen(pid, CHOSEN_PID))
		return 0;
#endif
#if defined(FILTER_PID)
	if (pid != FILTER_PID)
		return 0;
#endif
	return in_tree(pid);
}

#if defined(FILTER_COMM_WORDS)
static __always_inline u64 comm_word(u32 byte, u32 word)
{
	u32 at = byte * FILTER_COMM_WORDS + word;
	u64 *found = comm_bytes.lookup(&at);

	return found ? *found : 0;
}

/* Whether the patterns in one word of bits match: see isotrace/trace/names.py. No pattern goes from one word to the next. */
static __always_inline int word_matches(u64 name[2], u32 word)
{
	u64 repeating = comm_word(COMM_REPEATING, word), state = comm_word(COMM_BEGIN, word), accepted;

	state |= (state & repeating) << 1;
	_Pragma("unroll")
	for (int i = 0; i < 15; i++) {
		u32 byte = name[i / 8] >> i % 8 * 8 & 0xff;

		if (!byte)
			break;
		accepted = state & comm_word(byte, word);
		state = (accepted & ~repeating) << 1 | (accepted & repeating);
		state |= (state & repeating) << 1;
	}
	return (state & comm_word(0, word)) != 0;
}
#endif

static __always_inline int is_the_name(u64 name[2])
{
#if defined(FILTER_COMM_WORDS)
	_Pragma("unroll")
	for (u32 word = 0; word < FILTER_COMM_WORDS; word++)
		if (word_matches(name, word))
			return 1;
	return 0;
#elif defined(FILTER_COMM_0)
	return name[0] == FILTER_COMM_0 && name[1] == FILTER_COMM_1;
#else
	return 1;
#endif
}

/* Of the current task, or of the task `named`. */
static __always_inline int has_the_name(u64 named)
{
#if defined(FILTER_COMM)
	u64 comm[2] = {};

	if (named)
		read_kernel_string(comm, sizeof(comm), (void *)(named + OFF_COMM));	/* behind it may be a former name's end */
	else
		bpf_get_current_comm(comm, sizeof(comm));
	return is_the_name(comm);
#else
	return 1;
#endif
}

/* Whether the processes' parent is one that is asked for. */
static __always_inline int has_the_parent(u32 ppid)
{
#if defined(FILTER_PPIDS)
	return is_chosen(ppid, CHOSEN_PPID);
#elif defined(FILTER_PPID)
	return ppid == FILTER_PPID;
#else
	return 1;
#endif
}

static __always_inline int is_target(struct who *who, u64 named)
{
	if (!has_the_parent(who->ppid))
		return 0;
#if defined(FILTER_UID)
	if (real_uid(who->task) != FILTER_UID)
		return 0;
#endif
	if (!has_the_name(named))
		return 0;
	return has_the_cgroup(who->task);
}

static __always_inline void fill_who(struct who *who)
{
	who->task = CURRENT();
	who->ppid = parent_of(who->task);
}

/* Says whether the current task is watched, by the name of `named` where that is one; fills `who` if it is, and its pid in any case. */
static __always_inline int is_watched_as(struct who *who, u64 named)
{
	u32 pid = OWN_TGID();

	who->pid = pid;
	if (pid == SELF || !IS_SEEN(pid))
		return 0;
#if defined(SPARED)
	if (SPARED(pid))
		return 0;
#endif
#if defined(FOLLOWED)
	fill_who(who);
	if (is_followed(pid))
		return 1;
	if (!may_be_target(pid) || !is_target(who, named))
		return 0;
	keep(pid);
	return 1;
#else
	if (!may_be_target(pid))
		return 0;
	fill_who(who);
	return is_target(who, named);
#endif
}

static __always_inline int is_watched(struct who *who)
{
	return is_watched_as(who, 0);
}

#endif
