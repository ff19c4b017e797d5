// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the module is hooked in: tracepoints, and for calls to be refused the calls' own functions through ftrace. Exported
 * symbols only; what sleeps in a call never has a frame of the module below it.
 */
#include <linux/binfmts.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/tracepoint.h>
#include "compat.h"
#include "hooks.h"
#include "judge.h"
#include "records.h"
#include "table.h"
#include "watch.h"

/* ---- tracepoints ---- */

/* Runs `body` with the session, if there is one, and preemption disabled: since 7.x the kernel does not see to that. */
#define WITH_SESSION(body) do {						\
	struct session *session;					\
									\
	preempt_disable_notrace();					\
	session = current_session();					\
	if (session)							\
		body;							\
	preempt_enable_notrace();					\
} while (0)

static void probe_enter(void *data, struct pt_regs *regs, long number)
{
	WITH_SESSION(on_call_enter(session, regs));
}

static void probe_exit(void *data, struct pt_regs *regs, long result)
{
	WITH_SESSION(on_call_exit(session, regs, result));
}

static void probe_fork(void *data, struct task_struct *parent, struct task_struct *child)
{
	WITH_SESSION(follow(session, child));
}

static void probe_exec(void *data, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	WITH_SESSION({
		activate_command(session);
		judge_name(session);
		if (session->logs)
			on_exec(session, old_pid, bprm->filename, bprm->filename != bprm->interp);
	});
}

/* 6.16 has another argument, group_dead, which is left where it is. */
static void probe_task_exit(void *data, struct task_struct *task)
{
	WITH_SESSION({
		if (session->logs)
			on_task_exit(session);
		if (target_descends(session))
			unfollow(session, task);
	});
}

static void probe_signal(void *data, int number, struct kernel_siginfo *info, struct k_sigaction *action)
{
	/* SEND_SIG_NOINFO and SEND_SIG_PRIV are no addresses */
	WITH_SESSION(on_signal(session, number, info > SEND_SIG_PRIV ? info : NULL));
}

enum when { LOGGING, NOTICING, DESCENDING, EXECUTING, ENDING };

static struct probe {
	const char *name;
	void *function;
	enum when when;
	struct tracepoint *point;
	bool attached;
} probes[] = {	/* in the order of attaching: first what keeps the maps of followed pids */
	{ "sched_process_fork", probe_fork, DESCENDING },
	{ "sched_process_exec", probe_exec, EXECUTING },
	{ "sched_process_exit", probe_task_exit, ENDING },
	{ "signal_deliver", probe_signal, NOTICING },
	{ "sys_enter", probe_enter, LOGGING },
	{ "sys_exit", probe_exit, LOGGING },
};

static void find_probe(struct tracepoint *point, void *unused)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if (!strcmp(point->name, probes[i].name))
			probes[i].point = point;
}

int probes_find(void)
{
	unsigned int i;

	for_each_kernel_tracepoint(find_probe, NULL);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (!probes[i].point) {
			pr_err("isotrace: this kernel has no tracepoint %s: nothing can be done here\n", probes[i].name);
			return -EOPNOTSUPP;
		}
	}
	return 0;
}

static bool needed(const struct session *session, enum when when)
{
	switch (when) {
	case LOGGING:
		return session->logs;
	case NOTICING:
		return session->logs && session->flags & ISOTRACE_F_NOTICES;
	case DESCENDING:
		return target_descends(session);
	case EXECUTING:
		return session->logs || session->target.command || keeps_names(session);
	case ENDING:
		return session->logs || target_descends(session);
	}
	return false;
}

int probes_attach(struct session *session)
{
	unsigned int i;
	int error;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (!needed(session, probes[i].when))
			continue;
		error = tracepoint_probe_register(probes[i].point, probes[i].function, NULL);
		if (error) {
			probes_detach();
			return error;
		}
		probes[i].attached = true;
	}
	return 0;
}

void probes_detach(void)
{
	int i;

	for (i = ARRAY_SIZE(probes) - 1; i >= 0; i--)
		if (probes[i].attached)
			tracepoint_probe_unregister(probes[i].point, probes[i].function, NULL);
	for (i = 0; i < ARRAY_SIZE(probes); i++)
		probes[i].attached = false;
	tracepoint_synchronize_unregister();
}

/* ---- functions of calls ---- */

#ifdef CONFIG_DYNAMIC_FTRACE_WITH_REGS

/* Where a refused call lands. Not __x86_return_thunk: since 6.9 it warns where mitigations have moved the real one. */
static noinline notrace void just_return(void)
{
	asm volatile("");
}

static void notrace FTRACE_CALLBACK(on_function)
{
	struct pt_regs *regs = FTRACE_REGISTERS(fregs);
	long verdict;

	/* SAVE_REGS gives them, or registering fails. Were it ever otherwise, nothing could be refused, nor is it counted as if it had been. */
	if (WARN_ON_ONCE(!regs))
		return;
	verdict = judge(task_pt_regs(current));
	if (!verdict)
		return;
	regs->ax = verdict;
	regs->ip = (unsigned long)just_return;
}

static struct ftrace_ops ops = {
	.func = on_function,
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT | FTRACE_RECURSION,
};

static void clear_filter(void)
{
	ftrace_set_filter(&ops, NULL, 0, 1);	/* ftrace_free_filter is not exported in 5.10 */
}

static int functions_attach(struct session *session, struct netlink_ext_ack *ack)
{
	int error = 0;
	u32 i;

	/* The filter is complete before ftrace learns of it: an empty one is the whole kernel. */
	for (i = 0; i < session->hook_count && !error; i++)
		error = ftrace_set_filter_ip(&ops, session->hooks[i], 0, 0);
	if (error) {
		NL_SET_ERR_MSG(ack, "a system call's function cannot be traced on this kernel");
	} else {
		error = register_ftrace_function(&ops);
		if (error)
			NL_SET_ERR_MSG(ack, "ftrace refuses: another user, such as a live patch, changes the same functions, or ftrace is off");
	}
	if (error)
		clear_filter();
	return error;
}

static void functions_detach(void)
{
	unregister_ftrace_function(&ops);
	clear_filter();
}

#else

static int functions_attach(struct session *session, struct netlink_ext_ack *ack)
{
	return -EOPNOTSUPP;
}

static void functions_detach(void)
{
}

#endif

int hooks_attach(struct session *session, struct netlink_ext_ack *ack)
{
	if (!session->rule_count)
		return 0;
	switch (refuse_mode) {
	case ISOTRACE_MODE_FTRACE:
		if (session->hook_count)
			return functions_attach(session, ack);
		NL_SET_ERR_MSG(ack, "there are rules, but no functions to hook");
		return -EINVAL;
	case ISOTRACE_MODE_TABLE:
		return table_attach(session);
	case ISOTRACE_MODE_NONE:
		break;
	}
	NL_SET_ERR_MSG(ack, "this kernel has neither ftrace nor a sys_call_table that calls go through");
	return -EOPNOTSUPP;
}

/* Afterwards no task is inside of what was hooked, nor between it and the return from just_return(). */
void hooks_detach(struct session *session)
{
	if (!session->rule_count)
		return;
	if (refuse_mode == ISOTRACE_MODE_FTRACE) {
		functions_detach();
		synchronize_rcu_tasks();
	} else {
		table_detach();
	}
}
