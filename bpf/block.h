/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Refusing, whatever the mechanism: who is concerned, by which call, what the verdict of a rule is, and the record of a refusal.
 *
 * A rule has an index in `rules`, from 1 on; 0 is "no rule". User space sorts the path and net rules so that the smaller one is the more
 * specific. Counting and refusing do not depend on the ring: a full one loses the record alone.
 */
#ifndef ISOTRACE_BLOCK_H
#define ISOTRACE_BLOCK_H

#include <linux/types.h>
#include "event.h"
#include "filter.h"
#include "calls.h"

BPF_PERCPU_ARRAY(stats, u64, STATS);

#include "descendants.h"

#define RULE_KILL 1
#define RULE_AUDIT 2
#define RULE_KILL_UNANSWERED 4	/* of one that asks */
#define RULE_BY_CALL 8		/* the same: it stands for rules on calls */
#define RULE_HELD 16		/* the same: it asks about the first read of what was open before as well */
#define SLOT_BY_RING 1022		/* no call has this number: work done for io_uring */
#define PF_IO_WORKER 0x10
#define NR_IO_URING_ENTER 426
#define NR_IO_SUBMIT 209
#define NR_IO_SUBMIT_X32 544
#define NR_IO_SUBMIT_I386 248
#define EPERM 1
#define SIGKILL 9
#define MAX_ERRNO 4095

struct rule {
	u32 number;		/* the errno that the refused call returns, or 0 under audit */
	u32 flags;
};

/* The size of a record and its header together is a multiple of RECORD_ALIGN. */
#define TEXT_BYTES 880
struct refusal {
	struct event event;
	struct blob blob;
	char text[TEXT_BYTES];
};

BPF_ARRAY(rules, struct rule, RULES);
BPF_PERCPU_ARRAY(hits, u64, RULES);
BPF_ARRAY(shown, u8, SLOTS);	/* which argument of a call is a path, from 1 on */
BPF_RINGBUF_OUTPUT(events, RING_PAGES);

/* A verdict under way. */
struct judged {
	struct who who;
	s32 number;
	u16 slot;
	u8 abi;
	u8 ring;		/* the work is done for io_uring, by a worker or by the task itself */
	u32 hook;
	u32 reason;
	u64 dentry;		/* what is refused, or 0 */
	u64 mount;
	u64 address;
	u32 length;
	u32 left;		/* the accesses to a path that no rule decided */
#if defined(ASKS)
	u64 both;		/* of two objects, as one number */
	u32 accesses;		/* what is asked of a path */
	u16 kind;
	u8 by_call;
	u8 creates;		/* of an open: CREATES, CREATES_ANEW, CREATED */
#endif
};

/* What a question is to say, and what its answer is for: see block_ask.h. */
#if defined(ASKS)
#define ASKED_FOR(judged, letters) ((judged)->accesses = (letters))
#define ASKED_OF_BOTH(judged, one, other) ((judged)->both = under_name(one, 0) ^ 31 * under_name(other, 0))
#define FOUND_FLAGS(judged, flags, mode) ((judged)->creates = ((flags) >> 6 & CREATES_ANEW) | ((mode) >> 18 & CREATED))
#define READS 1			/* ACCESS_READ, of accesses */
#define CREATES 1		/* O_CREAT */
#define CREATES_ANEW 3		/* O_CREAT | O_EXCL: the call has made a file that it must not find there */
#define CREATED 4		/* FMODE_CREATED (4.19, commit 73a09dd94377): the call has made it, and there is nothing to read in it */
#define KIND_OF(judged) ((judged)->kind)
#define ACCESSES_OF(judged) ((judged)->accesses)
#else
#define ASKED_FOR(judged, letters)
#define ASKED_OF_BOTH(judged, one, other)
#define FOUND_FLAGS(judged, flags, mode)
#define KIND_OF(judged) KIND_REFUSED
#define ACCESSES_OF(judged) 0
#endif

/* Whether the current task can be refused anything: isotrace itself (is_watched) and the machine's init never are. */
static __always_inline int concerns(struct who *who)
{
	return is_watched(who) && !IS_INIT(who->pid);
}

/* A child of isotrace that tries, before a run begins, whether refusing works: it gets an errno that nothing else here gives. */
#define EUCLEAN 117
BPF_ARRAY(self_test, u32, 2);	/* its pid; the one hook that refuses it, from 1 on, or 0: all do */

static __always_inline int is_self_test(struct who *who, u32 hook)
{
	u32 first = 0, second = 1;
	u32 *pid = self_test.lookup(&first), *only;

	if (!pid || *pid != who->pid || !IS_SEEN(who->pid))	/* before the child is there its number is 0 as well */
		return 0;
	only = self_test.lookup(&second);
	return only && (!*only || *only == hook + 1);
}

/*
 * The same number, but through memory: neither the compiler nor the verifier knows its type or bounds any more. A hook's typed pointer becomes
 * free for arithmetic, and the rounds of a loop that starts with it look alike to the verifier.
 */
static __always_inline u64 number_of(u64 known)
{
	u64 value = 0;

	read_kernel(&value, sizeof(value), &known);
	return value;
}

/* Where the current task's registers lie; with DIRECT calls.h finds them by itself. */
static __always_inline u64 registers_of(u64 task)
{
#if defined(DIRECT)
	return 0;
#else
	return read_u64(task + OFF_STACK) + THREAD_BYTES - STACK_PADDING - sizeof(struct registers);
#endif
}

/*
 * Has the verifier forget what it knows of a thing on the stack, and by which branches it came to know it: what follows is looked at once, and not
 * once for each way.
 */
#define forget(thing) read_kernel((thing), sizeof(*(thing)), (thing))

/* The key of an array, in eight bytes: see read_u32(). */
#define KEY(number) ((u32 *)&(u64){number})

#if defined(ASKS)
static __always_inline u64 mix(u64 known, u64 more)
{
	known = (known ^ more) * 0x9e3779b97f4a7c15ULL;
	return known ^ known >> 29;
}
#endif

/* Calls that do what an array of orders in memory says: io_uring's, and AIO's. */
static __always_inline int takes_orders(u32 slot)
{
	return (slot & (SLOT_I386 - 1)) == NR_IO_URING_ENTER || slot == NR_IO_SUBMIT || slot == NR_IO_SUBMIT_X32 ||
	       slot == SLOT_I386 + NR_IO_SUBMIT_I386;
}

static __always_inline void find_call(struct judged *judged)
{
	u64 task = CURRENT();

	judged->who.task = task;
	judged->number = original_number(registers_of(task));
	judged->abi = abi_of(task, judged->number);
	judged->slot = slot_of(judged->abi, judged->number);
	judged->ring = takes_orders(judged->slot);
	if (MEMBER_U32(task + OFF_FLAGS) & PF_IO_WORKER)
		judged->ring = 1;
	forget(judged);
}

static __always_inline void count_hit(u32 rule)
{
	u64 *value = hits.lookup(&rule);

	if (value)
		(*value)++;
}

static __always_inline void count_lost(void)
{
	u32 which = STAT_EXTRAS_LOST;
	u64 *value = stats.lookup(&which);

	if (value)
		(*value)++;
}

/* The path that the caller wrote, where the kernel's object is not at hand: shown, never judged. */
static __always_inline u32 write_argument(struct refusal *refusal, struct judged *judged)
{
	u32 slot = judged->slot & (SLOTS - 1);
	u8 *which = shown.lookup(&slot);
	u64 address;
	long got;

	if (!which || !*which || judged->ring)
		return 0;
	switch (*which) {
	case 1: address = refusal->event.args[0]; break;
	case 2: address = refusal->event.args[1]; break;
	default: address = refusal->event.args[3]; break;
	}
	got = read_user_string(refusal->text, TEXT_BYTES, (void *)address);
	return got > 0 ? got - 1 : 0;
}

static __always_inline void describe(struct refusal *refusal, struct judged *judged, u32 rule, s64 result)
{
	struct event *event = &refusal->event;

	event->time = bpf_ktime_get_ns();
	event->duration = (u64)judged->reason << 32 | judged->hook << 16 | rule;
	event->pid = judged->who.pid;
	event->tid = OWN_PID();
	event->ppid = judged->who.ppid;
	event->uid = (u32)bpf_get_current_uid_gid();
	event->number = judged->number;
	event->slot = judged->slot;
	event->kind = KIND_OF(judged);
	event->blobs = 1;
	event->result = result;
	current_args(event->args, judged->abi, registers_of(judged->who.task));
	__builtin_memset(event->comm, 0, sizeof(event->comm));	/* some kernels fill nothing behind the name (seen on 6.1) */
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->abi = judged->abi;
	event->unread = event->later = 0;
	event->pad = ACCESSES_OF(judged);
	__builtin_memset(&refusal->blob, 0, sizeof(refusal->blob));
}

#if defined(PATH_ACCESSES) || defined(UNIX)
#define SHOWN_DEPTH 24
#define NAME_ROOM 256

/* The struct mount of a struct path, or 0: without a branch, or the verifier looks at all that follows twice. Addresses have the highest bit. */
static __always_inline u64 mount_of(u64 path)
{
	u64 mount = read_u64(path + OFF_PATH_MNT);

	return mount - (OFF_MOUNT_MNT & (0 - (mount >> 63)));
}

/* A number that is a dentry's under one name in one directory; 0 of none. */
static __always_inline u64 as_named(u64 dentry)
{
	return dentry ? dentry + 31 * read_u64(dentry + OFF_D_PARENT) + 0x9e3779b97f4a7c15 * read_u64(dentry + OFF_D_HASH) : 0;
}

#if defined(ASKS)
/*
 * A number that is an object's under one name in one directory. A name that is not there yet has a dentry of its own at each turn, on file systems that
 * keep none of those; and what an open makes, if need be, is the same before and after that.
 */
static __always_inline u64 under_name(u64 dentry, u64 creates)
{
	u64 found = mix(read_u64(dentry + OFF_D_PARENT), read_u64(dentry + OFF_D_HASH));

	return mix(found, read_u64(dentry + OFF_D_INODE) & ((creates & CREATES) - 1));
}
#endif

/* Whether it is attached, so that what is in it has a path: not one that is detached, or that the kernel keeps to itself (as those of layers). */
static __always_inline int is_attached(u64 mount)
{
	u64 space = read_u64(mount + OFF_MOUNT_NS);

	return space && space < (u64)-4095;
}

/*
 * The names from the object up to the root, each ended by NUL; the blob is marked as cut when there are more. The length lives in the record: what
 * comes from memory has no known bounds, so that the verifier finds every round like the one before.
 */
static __always_inline u32 write_path(struct refusal *refusal, u64 dentry, u64 mount)
{
	volatile u16 *length = &refusal->blob.size;
	u64 parent, above;
	u32 at;
	long got;
	int i;

	*length = 0;
	refusal->blob.state = BLOB_CUT;
	for (i = 0; i < SHOWN_DEPTH; i++) {
		if (mount && dentry == read_u64(mount + OFF_MOUNT_MNT + OFF_MNT_ROOT)) {
			above = read_u64(mount + OFF_MOUNT_PARENT);
			dentry = read_u64(mount + OFF_MOUNT_POINT);
			if (above == mount) {
				if (is_attached(mount))
					refusal->blob.state = BLOB_WHOLE;
				break;
			}
			mount = above;
			continue;
		}
		parent = read_u64(dentry + OFF_D_PARENT);
		if (parent == dentry)
			break;
		at = *length;
		if (at > TEXT_BYTES - NAME_ROOM)
			break;
		got = read_kernel_string(refusal->text + at, NAME_ROOM, (void *)read_u64(dentry + OFF_D_NAME));
		if (got > 0)
			*length = at + got;
		dentry = parent;
	}
	return *length;
}
#endif

/* Returns whether there was room. */
static __always_inline int submit_refusal(struct judged *judged, u32 rule, s64 result)
{
	struct refusal *refusal = events.ringbuf_reserve(sizeof(struct refusal));
	u32 size = 0;

	if (!refusal) {
		count_lost();
		return 0;
	}
	describe(refusal, judged, rule, result);
#if defined(PATH_ACCESSES) || defined(UNIX)
	if (judged->dentry) {
		size = write_path(refusal, judged->dentry, judged->mount);
		refusal->blob.part = PART_PATH;
	}
#endif
#if defined(NETS) || defined(UNIX)
	if (judged->address) {
		size = judged->length;
		asm volatile("" : "+r"(size));
		size &= 0x7f;
		if (read_kernel(refusal->text, size, (void *)judged->address))
			size = 0;
		refusal->blob.part = PART_NAME;
	}
#endif
	if (!size)
		size = write_argument(refusal, judged);
	refusal->blob.size = size;
	refusal->event.size = sizeof(struct event) + sizeof(struct blob) + size;
	events.ringbuf_submit(refusal, BPF_RB_FORCE_WAKEUP);
	return 1;
}

static __always_inline int is_audit(u32 index)
{
	struct rule *rule = rules.lookup(&index);

	return rule && (rule->flags & RULE_AUDIT);
}

/*
 * A command that isotrace starts becomes a member with its execve: what led to it was isotrace's own. At sched_process_exec, which the task meets
 * once the new program is in place. By then a process has the name that it was executed under, too: see KEPT.
 */
int on_start(void *ctx)
{
#if defined(FILTER_TREE)
	u32 pid = OWN_TGID();

	if (tree_state(pid) == MEMBER_ARMED)
		set_tree(pid, MEMBER_ACTIVE);
#endif
#if defined(KEPT) && defined(FILTER_COMM)
	u32 self = OWN_TGID();
	struct who who;

	if (has_the_name(0))
		is_watched(&who);
	else if (is_followed(self))
		set_followed(self, 0);
#endif
	return 0;
}

/* -number, in words of which the verifier follows the range: from 6.12 on it wants to know that a hook's result is from -4095 to 0. */
static __always_inline s64 negative(u64 number)
{
	s64 result;

	number &= MAX_ERRNO;
	asm volatile("%0 = 0\n\t%0 -= %1" : "=&r"(result) : "r"(number));
	return result;
}

/* Carries the verdict out: what the hook or call is to return. A rule that cannot be found refuses. */
static __always_inline s64 refuse(struct judged *judged, u32 index)
{
	struct rule *rule;
	u64 number = EPERM;

	forget(judged);
	index = number_of(index);
	rule = rules.lookup(&index);
	if (rule) {
		number = rule->number;
		if (rule->flags & RULE_KILL)
			bpf_send_signal(SIGKILL);
	}
	count_hit(index);
	submit_refusal(judged, index, -(s64)number);
	return negative(number);
}

#endif
