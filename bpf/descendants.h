/* SPDX-License-Identifier: GPL-2.0-only */
/* Keeps filter.h's maps of followed pids: programs for births and ends. Needs calls.h and the map `stats`. */
#ifndef ISOTRACE_DESCENDANTS_H
#define ISOTRACE_DESCENDANTS_H

#if defined(DESCENDANTS)

static __always_inline void not_followed(long error)
{
	u32 which = STAT_NOT_FOLLOWED;
	u64 *value = error ? stats.lookup(&which) : NULL;

	if (value)
		(*value)++;
}

static __always_inline int is_seeding(void)
{
	u32 zero = 0;
	u32 *on = seeding.lookup(&zero);

	return on && *on;
}

#if defined(FOLLOW)
#define INHERITED(watched) (watched)
#else
#define INHERITED(watched) 0
#endif

#if defined(FOLLOWED)
/*
 * Whether the child itself is due to be kept: a child of --ppid's process is one from its birth on, for it may end its parent before it makes a
 * call; and what a process of --comm's name has forked runs the same program, whatever it calls itself.
 */
static __always_inline int is_born_to(u32 child, u32 forker, u64 task)
{
	struct who who = {.task = CURRENT(), .pid = child};	/* whose name and user the child has */

	who.ppid = TGID_OF(read_u64(task + OFF_REAL_PARENT));
	if (may_be_target(child) && is_target(&who, 0))
		return 1;
#if defined(FILTER_COMM) && !defined(FILTER_PPID) && !defined(FILTER_PPIDS)
	return is_followed(forker);
#else
	return 0;
#endif
}
#endif

/*
 * While the map is being filled from /proc, who forks may descend from a member and be none yet; and where processes live for a moment each, /proc may
 * be read for ever without a sight of one. So its parents are looked at, and theirs. The bits say of what it is a descendant.
 */
#define OF_TREE 1
#define OF_FOLLOWED 2
#define ANCESTORS 32

static __always_inline u32 heritage(u64 task)
{
	u32 found = 0;
	int i;

	for (i = 0; i < ANCESTORS; i++) {
		u32 pid = TGID_OF(task);

		if (!IS_SEEN(pid) || IS_INIT(pid))
			break;
#if defined(FILTER_TREE)
		if (in_tree(pid))
			found |= OF_TREE;
#endif
#if defined(FOLLOWED) && defined(FOLLOW)
		if (is_followed(pid))
			found |= OF_FOLLOWED;
#endif
		task = read_u64(task + OFF_REAL_PARENT);
	}
	return found;
}

/* What is due to a child that runs `task`. While the map is being filled its parent may yet become a member: then `pending` keeps what is there. */
static __always_inline void set_born(u32 child, u32 forker, u64 task, int watched, int pending)
{
	u32 inherited = pending ? heritage(CURRENT()) : 0;

#if defined(FILTER_TREE)
	if (in_tree(forker) || inherited & OF_TREE)
		set_tree(child, MEMBER_ACTIVE);
	else if (!pending)
		set_tree(child, 0);
#endif
#if defined(FOLLOWED)
	if (INHERITED(watched) || is_born_to(child, forker, task) || inherited & OF_FOLLOWED)
		set_followed(child, MEMBER_ACTIVE);
	else if (!pending)
		set_followed(child, 0);
#endif
}

static __always_inline int follow(u64 task)
{
	u32 child = TGID_OF(task);
	int pending = is_seeding();	/* before the forker is looked at: once it is off, the map is whole */
	struct who who;
	int watched = is_watched(&who);

	if (child == who.pid || !IS_SEEN(child))
		return 0;
	set_born(child, who.pid, task, watched, pending);
	if (pending)
		not_followed(births.update(&child, &who.pid));
	return 0;
}

int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	return follow(ctx->args[1]);
}

/* A kprobe on wake_up_new_task(): called by the parent before the child runs, where tracepoints can be preempted. */
int on_new_task(struct registers *ctx)
{
	return follow(ctx->di);
}

/*
 * At sched_process_exit: a thread group has ended when the last of its threads has, be that the leader or not. Others that are on their way out by
 * then are still known as members, for the records of their end.
 */
int on_end(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = OWN_TGID();

	if (!group_ended(CURRENT()))
		return 0;
#if defined(FILTER_TREE)
	if (tree_state(pid))
		set_tree(pid, MEMBER_ENDED);
#endif
#if defined(FOLLOWED)
	if (followed_state(pid))
		set_followed(pid, MEMBER_ENDED);
#endif
	return 0;
}

#endif

#endif
