/* SPDX-License-Identifier: GPL-2.0-only */
/* Keeps filter.h's maps of descent: programs for births and for sched_process_free. Needs calls.h and the map `tally`; FREED(pid) is called, if it is defined. */
#ifndef ISOTRACE_DESCENT_H
#define ISOTRACE_DESCENT_H

#if defined(FILTER_TREE) || defined(FOLLOW)

static __always_inline void not_followed(long error)
{
	u32 which = TALLY_NOT_FOLLOWED;
	u64 *value = error ? tally.lookup(&which) : NULL;

	if (value)
		(*value)++;
}

static __always_inline void remember_birth(u32 parent, u32 child)
{
	u32 zero = 0;
	u32 *on = seeding.lookup(&zero);

	if (on && *on)
		not_followed(born.update(&child, &parent));
}

static __always_inline int follow(u64 task)
{
	u32 child = read_u32(task + OFF_TGID);
	u32 active = MEMBER_ACTIVE;
	struct who who;
	int watched = is_watched(&who);

	if (child == who.pid)
		return 0;
#if defined(FILTER_TREE)
	if (in_tree(who.pid))
		not_followed(tree.update(&child, &active));
#endif
#if defined(FOLLOW)
	if (watched)
		not_followed(family.update(&child, &active));
#endif
	remember_birth(who.pid, child);
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

/* A thread group leaves the maps when its leader is freed: after every thread of it has ended. */
int on_free(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = read_u32(ctx->args[0] + OFF_PID);

	if (pid != read_u32(ctx->args[0] + OFF_TGID))
		return 0;
#if defined(FREED)
	FREED(pid);
#endif
#if defined(FILTER_TREE)
	tree.delete(&pid);
#endif
#if defined(FOLLOW)
	family.delete(&pid);
#endif
	return 0;
}

#endif

#endif
