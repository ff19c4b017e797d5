// SPDX-License-Identifier: GPL-2.0-only
/* Who is watched: the conditions on the current task, and the maps of descent. The same as bpf/filter.h and bpf/descent.h. */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/string.h>
#include <linux/user_namespace.h>
#include "isotrace.h"

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

static bool is_target(const struct session *session, const struct who *who)
{
	const struct target *target = &session->target;

	if (target_has(session, ISOTRACE_T_PID) && who->pid != target->pid)
		return false;
	if (target_has(session, ISOTRACE_T_PPID) && who->ppid != target->ppid)
		return false;
	if (target_has(session, ISOTRACE_T_UID) && from_kuid(&init_user_ns, current_uid()) != target->uid)
		return false;
	if (target_has(session, ISOTRACE_T_COMM) && strncmp(current->comm, target->comm, TASK_COMM_LEN))
		return false;
	if (target_has(session, ISOTRACE_T_CGROUP) && !in_cgroup(session, current))
		return false;
	return !session->tree || member(session->tree, who->pid);
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
	return is_target(session, who) || member(session->family, who->pid);
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

/* The current task has made a process, which has not run yet. */
void follow(struct session *session, struct task_struct *child)
{
	u32 pid = task_tgid_nr(child);
	struct who who;
	bool watched = is_watched(session, &who);

	if (pid == who.pid || pid >= PIDS)
		return;
	if (member(session->tree, who.pid))
		set_bit(pid, session->tree);
	if (session->family && watched)
		set_bit(pid, session->family);
	if (READ_ONCE(session->seeding))
		remember_birth(session, who.pid, pid);
}

/* A process leaves the maps when its leader is freed: after every thread of it has ended. */
void unfollow(struct session *session, struct task_struct *task)
{
	u32 pid = task_pid_nr(task);

	if (pid != task_tgid_nr(task) || pid >= PIDS)
		return;
	if (session->tree)
		clear_bit(pid, session->tree);
	if (session->family)
		clear_bit(pid, session->family);
}

/* A command that isotrace started becomes visible with its execve. */
void activate_command(struct session *session)
{
	u32 pid = task_tgid_nr(current);

	if (session->target.command && session->target.command == pid)
		set_bit(pid, session->tree);
}

/* ---- descendants that there are already ---- */

static bool matches_now(const struct session *session, struct task_struct *task, u32 parent)
{
	const struct target *target = &session->target;

	if (target_has(session, ISOTRACE_T_PID) && task_tgid_nr(task) != target->pid)
		return false;
	if (target_has(session, ISOTRACE_T_PPID) && parent != target->ppid)
		return false;
	if (target_has(session, ISOTRACE_T_UID) && from_kuid(&init_user_ns, task_uid(task)) != target->uid)
		return false;
	if (target_has(session, ISOTRACE_T_COMM) && strncmp(task->comm, target->comm, TASK_COMM_LEN))
		return false;
	return !target_has(session, ISOTRACE_T_CGROUP) || in_cgroup(session, task);
}

static bool seed_pass(struct session *session, unsigned long *map, bool tree)
{
	struct task_struct *task;
	bool grown = false;
	u32 pid, parent;

	rcu_read_lock();
	for_each_process(task) {
		pid = task_tgid_nr(task);
		parent = task_tgid_nr(rcu_dereference(task->real_parent));
		if (pid >= PIDS || pid == session->self || test_bit(pid, map))
			continue;
		if (test_bit(parent, map) || (tree ? pid == session->target.tree : matches_now(session, task, parent))) {
			set_bit(pid, map);
			grown = true;
		}
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

		if (child && child < PIDS && test_bit(session->births[i].parent, map) && !test_and_set_bit(child, map))
			grown = true;
	}
	return grown;
}

static void forget_dead(unsigned long *map)
{
	u32 pid;

	for_each_set_bit(pid, map, PIDS) {
		rcu_read_lock();
		if (!pid_task(find_pid_ns(pid, &init_pid_ns), PIDTYPE_PID))
			clear_bit(pid, map);
		rcu_read_unlock();
		cond_resched();
	}
}

/* Fills the map of descent, with forks already followed, until a round finds nothing new. May sleep. */
void seed(struct session *session)
{
	bool tree = session->tree;
	unsigned long *map = tree ? session->tree : session->family;
	bool grown;

	do {
		grown = seed_pass(session, map, tree);
		grown |= seed_births(session, map);
		cond_resched();
	} while (grown);
	WRITE_ONCE(session->seeding, false);
	forget_dead(map);
}
