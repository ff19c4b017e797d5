/* SPDX-License-Identifier: GPL-2.0-only */
/* Who descends from the target: kept at every fork, before the child runs, and until a process is freed. Needs filter.h and a map `tally`. */
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

int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	u32 child = read_u32(ctx->args[1] + OFF_TGID);
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

/* A thread group leaves the maps when its leader is freed: after every thread of it has ended. */
int on_free(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = read_u32(ctx->args[0] + OFF_PID);

	if (pid != read_u32(ctx->args[0] + OFF_TGID))
		return 0;
#if defined(FILTER_TREE)
	tree.delete(&pid);
#endif
#if defined(FOLLOW)
	family.delete(&pid);
#endif
	return 0;
}

/* A command that isotrace starts becomes a member with its execve: what led to it was isotrace's own. */
int on_start(struct bpf_raw_tracepoint_args *ctx)
{
#if defined(FILTER_TREE)
	u32 pid = bpf_get_current_pid_tgid() >> 32, active = MEMBER_ACTIVE;
	u32 *state = tree.lookup(&pid);

	if (state && *state == MEMBER_ARMED)
		tree.update(&pid, &active);
#endif
	return 0;
}

#endif

#endif
