// SPDX-License-Identifier: GPL-2.0-only
/* Whether the call that the current task begins is refused: by its number and registers, never by what they point to. */
#include <linux/preempt.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include "call.h"
#include "capture.h"
#include "judge.h"
#include "records.h"
#include "state.h"
#include "watch.h"

static bool rule_matches(const struct isotrace_rule *rule, const u64 *args)
{
	u64 value = args[rule->arg] & rule->mask;

	switch (rule->test) {
	case ISOTRACE_EQUAL:
		return value == rule->value;
	case ISOTRACE_DIFFERS:
		return value != rule->value;
	}
	return true;
}

static const struct isotrace_rule *rule_for(const struct session *session, u32 slot, const u64 *args)
{
	const struct isotrace_rule *rule = session->rules + session->first[slot], *end = rule + session->rules_of[slot];

	for (; rule < end; rule++)
		if (rule_matches(rule, args))
			return rule;
	return NULL;
}

static void record(struct session *session, const struct isotrace_rule *rule, struct event *event)
{
	struct cpu_state *cpu = my_cpu(session);

	event->kind = ISOTRACE_KIND_REFUSED;
	event->duration = rule->number;
	event->result = rule->action == ISOTRACE_AUDIT ? 0 : -(s64)rule->error;
	cpu->scratch.event = *event;
	capture_memory(&cpu->scratch, &session->slots[event->slot].captures);
	atomic64_inc(&session->hits[rule->number]);
	if (!send_record(session, cpu))
		cpu->records_lost++;
}

static long act(struct session *session, struct pt_regs *regs)
{
	u8 abi;
	u32 number = call_number(regs, &abi), slot = slot_of(abi, number);
	const struct isotrace_rule *rule;
	struct event event;
	struct who who;

	if (!session->rules_of[slot] || current->flags & PF_KTHREAD || is_global_init(current) || !is_watched(session, &who))
		return 0;
	begin_record(&event, &who, abi, number, slot);
	fill_arguments(event.args, abi, regs);
	rule = rule_for(session, slot, event.args);
	if (!rule)
		return 0;
	record(session, rule, &event);
	if (rule->action == ISOTRACE_KILL)
		send_sig(SIGKILL, current, 1);
	return rule->action == ISOTRACE_AUDIT ? 0 : -(long)rule->error;
}

/* 0 to let the call run, or the negative errno that it fails with. Never sleeps. */
long judge(struct pt_regs *regs)
{
	struct session *session;
	long verdict = 0;

	preempt_disable_notrace();
	session = current_session();
	if (session)
		verdict = act(session, regs);
	preempt_enable_notrace();
	return verdict;
}
