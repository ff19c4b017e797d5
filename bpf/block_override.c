// SPDX-License-Identifier: GPL-2.0-only
/*
 * Refusing by number and registers, before the call's own code runs: on_kprobe with bpf_override_return, or one fmod_ret program for each of the
 * kernel's functions, or, where neither is to be had, on_signal, which can only kill.
 *
 * User space appends one line CALL(symbol) for each function that fmod_ret is attached to, and defines KPROBE or SIGNAL for the other programs.
 * Nothing is read from the caller's memory: a rule on calls with an address looks at the register of sendto alone.
 */
#include "block.h"

#define NR_SENDTO 44
#define NR_SENDTO_I386 369
#define NR_IPC 117
#define NR_SOCKETCALL 102
#define MULTIPLEXED 32		/* calls of one of i386's multiplexers, at most */
#define VERSION_MASK 0xffff	/* the first argument of ipc has a version above the call */

struct call_rule {
	u16 always;
	u16 addressed;
};
BPF_ARRAY(call_rules, struct call_rule, SLOTS);
BPF_ARRAY(multiplexed, struct call_rule, 2 * MULTIPLEXED);	/* by the first argument of i386's socketcall, and of ipc */

static __always_inline struct call_rule *find_rule(struct judged *judged, u64 *args)
{
	u32 index = judged->slot;

	if (index == SLOT_I386 + NR_SOCKETCALL || index == SLOT_I386 + NR_IPC) {
		index = (u32)args[0];
		if (judged->slot == SLOT_I386 + NR_IPC)
			index &= VERSION_MASK;
		if (index >= MULTIPLEXED)
			return NULL;
		if (judged->slot == SLOT_I386 + NR_IPC)
			index += MULTIPLEXED;
		return multiplexed.lookup(&index);
	}
	return call_rules.lookup(&index);
}

static __always_inline u32 rule_of(struct judged *judged)
{
	struct call_rule *found;
	u64 args[6];

	current_args(args, judged->abi, registers_of(judged->who.task));
	found = find_rule(judged, args);
	if (!found)
		return 0;
	if (found->always)
		return found->always;
	if (judged->slot == NR_SENDTO || judged->slot == SLOT_I386 + NR_SENDTO_I386)
		return args[4] ? found->addressed : 0;
	return found->addressed;
}

/* What the current call is to return, or 0 to let it run. */
static __always_inline s64 judge_call(struct judged *judged)
{
	int concerned = concerns(&judged->who), tried = is_self_test(&judged->who, 0);
	u32 rule;

	if (!concerned && !tried)
		return 0;
	find_call(judged);
	rule = rule_of(judged);
	if (!rule)
		return 0;
	return tried ? -EUCLEAN : refuse(judged, rule);
}

#define CALL(symbol)								\
long symbol(u64 *ctx)								\
{										\
	struct judged judged = {};						\
										\
	return judge_call(&judged);						\
}

#if defined(KPROBE)
int on_kprobe(void *ctx)
{
	struct judged judged = {};
	s64 result = judge_call(&judged);

	if (result)
		bpf_override_return(ctx, result);
	return 0;
}
#endif

#if defined(SIGNAL)
int on_signal(void *ctx)
{
	struct judged judged = {};

	judge_call(&judged);
	return 0;
}
#endif
