/* SPDX-License-Identifier: GPL-2.0-only */
/* What one controller has set, and what is kept for it: all floors above read it, session.c makes and ends it. See state.c. */
#ifndef ISOTRACE_STATE_H
#define ISOTRACE_STATE_H

#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/types.h>
#include "capture.h"
#include "event.h"
#include "isotrace_uapi.h"

struct ring;
struct sock;

#define PIDS (4 * 1024 * 1024)	/* PID_MAX_LIMIT on 64 bits, include/linux/threads.h */
#define BIRTHS 65536		/* forks that are remembered while the maps of followed pids are being filled */

/* What one CPU has for itself; used with preemption disabled, never from interrupts. */
struct cpu_state {
	struct scratch scratch;
	u32 sent;			/* bytes since the reader was last woken */
	u64 seen[SLOTS];
	u64 lost[SLOTS];
	u64 extras_lost;
	u64 records_lost;
};

/* What is remembered of a thread between two events. */
struct thread_note {
	u64 start;			/* ns, when its call began */
	u32 exec_number;		/* the execve that it is in, plus one */
	u32 exec_abi;
};

#define NOTES_PER_PAGE (PAGE_SIZE / sizeof(struct thread_note))
#define NOTE_PAGES (PIDS / NOTES_PER_PAGE)

struct target {
	u32 has;			/* bits: 1 << enum isotrace_target */
	u32 ppid, pid, uid, tree, command, level;
	u64 cgroup;
	char comm[TASK_COMM_LEN];
};

struct birth {
	u32 parent, child;
};

struct slot_plan {
	u8 exit, enter;
	struct captures captures;
};

enum session_state { CLAIMED, STARTED, STOPPED };

struct session {
	enum session_state state;
	struct sock *controller;	/* its socket, held; by its portid too, which another may have as soon as this one is closed */
	u32 portid;
	u32 self;			/* its thread group */
	u32 flags;
	u32 string_limit;
	struct ring *ring;
	u32 watermark;
	struct target target;
	bool logs;
	unsigned long *tree, *followed;	/* bitmaps by thread group */
	unsigned long *ended;		/* who in them has no thread left */
	atomic64_t joined;		/* how many have become members */
	bool seeding;
	struct birth *births;		/* forks while `seeding` */
	atomic_t birth_count;
	atomic64_t not_followed;
	struct thread_note **notes;
	struct slot_plan slots[SLOTS];
	u16 first[SLOTS], rules_of[SLOTS];
	u32 rule_count;
	struct isotrace_rule *rules;
	atomic64_t *hits;
	u32 hook_count;
	unsigned long *hooks;
	struct cpu_state **cpus;
};

extern struct session __rcu *active;	/* the one that there is, or NULL */

/* With preemption disabled. */
static inline struct session *current_session(void)
{
	return rcu_dereference_sched(active);
}

static inline struct cpu_state *my_cpu(struct session *session)
{
	return session->cpus[smp_processor_id()];
}

struct thread_note *note_of(struct session *session, u32 pid, bool create);

#endif
