/* SPDX-License-Identifier: GPL-2.0-only */
/* Who is watched. See watch.c. */
#ifndef ISOTRACE_WATCH_H
#define ISOTRACE_WATCH_H

#include "state.h"

struct who {
	u32 pid, ppid;
};

static inline bool target_has(const struct session *session, unsigned int what)
{
	return session->target.has & (1u << what);
}

static inline bool target_descends(const struct session *session)
{
	return session->tree || session->followed;
}

/*
 * Where calls are refused another name or parent frees nobody: who has met COMM and PPID once stays, also as a child of what has the name, up to an
 * execve under another.
 */
static inline bool target_keeps(const struct session *session)
{
	return session->rule_count && !target_has(session, ISOTRACE_T_FOLLOW) &&
	       (target_has(session, ISOTRACE_T_PPID) || target_has(session, ISOTRACE_T_COMM));
}

static inline bool keeps_names(const struct session *session)
{
	return target_keeps(session) && target_has(session, ISOTRACE_T_COMM);
}

bool is_watched(struct session *session, struct who *who);
void follow(struct session *session, struct task_struct *child);
void unfollow(struct session *session, struct task_struct *task);
void activate_command(struct session *session);
void judge_name(struct session *session);
void seed(struct session *session);

#endif
