// SPDX-License-Identifier: GPL-2.0-only
/* Who is watched: the conditions on the current task, and the maps of followed pids. The same as bpf/filter.h and bpf/descendants.h. */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/string.h>
#include <linux/user_namespace.h>
#include "watch.h"

static bool member(const unsigned long *map, u32 pid)
{
	return map && pid < PIDS && test_bit(pid, map);
}

static bool in_cgroup(const struct session *session, struct task_struct *task)
{
#ifdef CONFIG_CGROUPS
	struct cgroup *mine, *above;
	bool found;

	rcu_read_lock();
	mine = task_dfl_cgroup(task);
	above = cgroup_ancestor(mine, session->target.level);
	found = above && cgroup_id(above) == session->target.cgroup;
	rcu_read_unlock();
	return found;
#else
	return false;
#endif
}

static bool is_named(const struct session *session, struct task_struct *task)
{
	return !strncmp(task->comm, session->target.comm, TASK_COMM_LEN);
}

static bool is_target(const struct session *session, const struct who *who)
{
	const struct target *target = &session->target;

	if (target_has(session, ISOTRACE_T_PID) && who->pid != target->pid)
		return false;
	if (target_has(session, ISOTRACE_T_PPID) && who->ppid != target->ppid)
		return false;
	if (target_has(session, ISOTRACE_T_UID) && from_kuid(&init_user_ns, current_uid()) != target->uid)
		return false;
	if (target_has(session, ISOTRACE_T_COMM) && !is_named(session, current))
		return false;
	if (target_has(session, ISOTRACE_T_CGROUP) && !in_cgroup(session, current))
		return false;
	return !session->tree || member(session->tree, who->pid);
}

static void enter(struct session *session, unsigned long *map, u32 pid)
{
	set_bit(pid, map);
	atomic64_inc(&session->joined);
}

/* Fills `who` for the current task and says whether it is watched. */
bool is_watched(struct session *session, struct who *who)
{
	who->pid = task_tgid_nr(current);
	if (who->pid == session->self)
		return false;
	rcu_read_lock();
	who->ppid = task_tgid_nr(rcu_dereference(current->real_parent));
	rcu_read_unlock();
	if (member(session->followed, who->pid))
		return true;
	if (!is_target(session, who))
		return false;
	/* Who has matched once stays: another name or parent does not free it. */
	if (session->followed && who->pid < PIDS)
		enter(session, session->followed, who->pid);
	return true;
}

static void remember_birth(struct session *session, u32 parent, u32 child)
{
	int at = atomic_inc_return(&session->birth_count) - 1;

	if (at >= BIRTHS) {
		atomic64_inc(&session->not_followed);
		return;
	}
	session->births[at].parent = parent;
	smp_store_release(&session->births[at].child, child);	/* seed_births() sees the parent with it */
}

/*
 * Whether the child itself is due to be kept: a child of --ppid's process is one from its birth on, for it may end its parent before it makes a
 * call; and what a process of --comm's name has forked runs the same program, whatever it calls itself.
 */
static bool is_born_to(const struct session *session, u32 forker, struct task_struct *child)
{
	struct who who = { .pid = task_tgid_nr(child) };

	rcu_read_lock();
	who.ppid = task_tgid_nr(rcu_dereference(child->real_parent));
	rcu_read_unlock();
	if (is_target(session, &who))
		return true;
	return target_has(session, ISOTRACE_T_COMM) && !target_has(session, ISOTRACE_T_PPID) && member(session->followed, forker);
}

/* What is due to who is born. While the map is being filled the parent may yet become a member: then `pending` keeps what is there. */
static void set_born(struct session *session, unsigned long *map, u32 pid, bool due, bool pending)
{
	if (!map)
		return;
	if (due)
		enter(session, map, pid);
	else if (!pending)
		clear_bit(pid, map);
}

/* The current task has made a process, which has not run yet. */
void follow(struct session *session, struct task_struct *child)
{
	bool pending = smp_load_acquire(&session->seeding);	/* before the forker is looked at: once it is off, the map is whole */
	u32 pid = task_tgid_nr(child);
	struct who who;
	bool watched = is_watched(session, &who);

	if (pid == who.pid || pid >= PIDS)
		return;
	clear_bit(pid, session->ended);
	set_born(session, session->tree, pid, member(session->tree, who.pid), pending);
	if (target_has(session, ISOTRACE_T_FOLLOW))
		set_born(session, session->followed, pid, watched || is_born_to(session, who.pid, child), pending);
	else
		set_born(session, session->followed, pid, is_born_to(session, who.pid, child), pending);
	if (pending)
		remember_birth(session, who.pid, pid);
}

/*
 * A thread ends. With the last one its process has ended, be that the leader or not; it stays in the maps, for the records of others that are on
 * their way out. Nothing is ever removed by a number that may be somebody else's by then: who gets it is entered or cleared at birth.
 */
void unfollow(struct session *session, struct task_struct *task)
{
	u32 pid = task_tgid_nr(task);

	if (!atomic_read(&task->signal->live) && (member(session->tree, pid) || member(session->followed, pid)))
		set_bit(pid, session->ended);
}

/* A command that isotrace started becomes visible with its execve. */
void activate_command(struct session *session)
{
	u32 pid = task_tgid_nr(current);

	if (session->target.command && session->target.command == pid && !member(session->tree, pid))
		enter(session, session->tree, pid);
}

/* Who is kept for its name is so up to an execve under another one. */
void judge_name(struct session *session)
{
	struct who who;

	if (!keeps_names(session))
		return;
	if (is_named(session, current))
		is_watched(session, &who);
	else
		clear_bit(task_tgid_nr(current), session->followed);
}

/* ---- descendants that there are already ---- */

static bool has_named_thread(const struct session *session, struct task_struct *task)
{
	struct task_struct *thread;

	for_each_thread(task, thread)
		if (is_named(session, thread))
			return true;
	return false;
}

static bool matches_now(const struct session *session, struct task_struct *task, u32 parent)
{
	const struct target *target = &session->target;

	if (target_has(session, ISOTRACE_T_PID) && task_tgid_nr(task) != target->pid)
		return false;
	if (target_has(session, ISOTRACE_T_PPID) && parent != target->ppid)
		return false;
	if (target_has(session, ISOTRACE_T_UID) && from_kuid(&init_user_ns, task_uid(task)) != target->uid)
		return false;
	if (target_has(session, ISOTRACE_T_COMM) && !has_named_thread(session, task))
		return false;
	return !target_has(session, ISOTRACE_T_CGROUP) || in_cgroup(session, task);
}

/* Whether the process is due to be in the map, given what is in it already. */
static bool is_due(const struct session *session, const unsigned long *map, struct task_struct *task)
{
	u32 pid = task_tgid_nr(task), parent = task_tgid_nr(rcu_dereference(task->real_parent));

	if (map == session->tree)
		return test_bit(parent, map) || pid == session->target.tree;
	if (target_has(session, ISOTRACE_T_FOLLOW) && test_bit(parent, map))
		return true;
	return matches_now(session, task, parent) && (!session->tree || test_bit(pid, session->tree));
}

static bool seed_pass(struct session *session, unsigned long *map)
{
	struct task_struct *task;
	bool grown = false;
	u32 pid;

	rcu_read_lock();
	for_each_process(task) {
		pid = task_tgid_nr(task);
		if (pid >= PIDS || pid == session->self || test_bit(pid, map) || !is_due(session, map, task))
			continue;
		enter(session, map, pid);
		grown = true;
	}
	rcu_read_unlock();
	return grown;
}

/* Children of members that were born, and perhaps lost their parent, while the map was being filled. */
static bool seed_births(struct session *session, unsigned long *map)
{
	int i, count = min(atomic_read(&session->birth_count), BIRTHS);
	bool grown = false;

	for (i = 0; i < count; i++) {
		u32 child = smp_load_acquire(&session->births[i].child);	/* pairs with remember_birth() */

		if (child && child < PIDS && test_bit(session->births[i].parent, map) && !test_bit(child, map)) {
			enter(session, map, child);
			grown = true;
		}
	}
	return grown;
}

static void seed_map(struct session *session, unsigned long *map)
{
	bool descend = map == session->tree || target_has(session, ISOTRACE_T_FOLLOW), grown;

	do {
		grown = seed_pass(session, map);
		if (descend)
			grown |= seed_births(session, map);
		cond_resched();
	} while (grown);
}

/* Fills the maps of followed pids, with forks already followed, until a round finds nothing new. May sleep. */
void seed(struct session *session)
{
	if (session->tree)
		seed_map(session, session->tree);
	if (session->followed)
		seed_map(session, session->followed);
	smp_store_release(&session->seeding, false);	/* pairs with follow() */
}
