// SPDX-License-Identifier: GPL-2.0-only
/*
 * Refusing at the kernel's security hooks: one program a hook, attached as an LSM program or, where bpf is no active LSM, as fmod_ret on the
 * function security_HOOK. Both see the hook's own arguments at ctx[0], ctx[1], …
 *
 * User space appends one line HOOK(index, symbol, judge, address, standing) for each hook that the rules need: `index` is the hook's row in
 * `call_rules`, `judge` one of the judge_… functions below, which look at paths or addresses, or judge_nothing; `standing` is what is part of
 * every policy there (isotrace/enforce/hooks/standing.py), or no_standing. A hook that only such rules need is a line STANDING(index, symbol, standing),
 * one where they hold whoever the current task is a line ALWAYS(index, symbol, standing).
 *
 * Constants: see filter.h and block.h; OFF_… from the kernel's BTF; RULES, HOOKS: the sizes of maps; PATH_ACCESSES: there are rules on paths;
 * CALLS: there are rules on calls; GLOBS: there are patterns among those on paths; NETS: there are rules on IP addresses; UNIX: there are rules
 * on unix sockets; ASKS: all the rules ask (block_ask.h), WAITS threads at most at once; HELD: some about what is open already, too; FAIL_CLOSED: beyond
 * the end of isotrace.
 */
#include "block.h"

#if defined(CALLS)
/* Entries of call_rules. 0: a call that does not come to this hook by itself, so that it is here for io_uring. */
#define NOT_REFUSED 0xffff

struct call_rule {
	u16 always;
	u16 addressed;		/* only where the call carries an address */
};
BPF_ARRAY(call_rules, struct call_rule, HOOKS * SLOTS);

/* The rule on the current call at this hook. A call that cannot have led here by itself runs work of io_uring, which any call's exit may do. */
static __always_inline u32 call_rule(struct judged *judged, int has_address)
{
	u32 index = judged->hook * SLOTS + (judged->ring ? SLOT_BY_RING : judged->slot);
	struct call_rule *found = call_rules.lookup(&index);
	u32 rule;

	if (!found)
		return 0;
	if (!found->always && !found->addressed) {
		judged->ring = 1;
		index = judged->hook * SLOTS + SLOT_BY_RING;
		found = call_rules.lookup(&index);
		if (!found)
			return 0;
	}
	rule = has_address && found->addressed ? found->addressed : found->always;
	rule = number_of(rule == NOT_REFUSED ? 0 : rule);
	forget(judged);
	return rule;
}
#else
static __always_inline u32 call_rule(struct judged *judged, int has_address)
{
	return 0;
}
#endif

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define O_ACCMODE 3
#if !defined(UNIX)
#define UNIX_REST 0
#define UNIX_DEEP 0
#define UNIX_CLOSED 0
#endif

#if defined(PATH_ACCESSES)
#include "block_paths.h"
#include "block_execution.h"
#include "block_ioctls.h"
#endif
#if defined(NETS)
#include "block_nets.h"
#endif
#if defined(UNIX)
#include "block_unix.h"
#endif

#include "block_guard.h"
#include "block_outside.h"

#if defined(ASKS)
#include "block_ask.h"
#define CARRY_OUT(judged, rule) ask(judged, rule)
#else
#define CARRY_OUT(judged, rule) refuse(judged, rule)
#endif

static __always_inline u32 no_standing(u64 *ctx, struct judged *judged)
{
	return 0;
}

static __always_inline u32 judge_nothing(u64 *ctx, struct judged *judged)
{
	return 0;
}

static __always_inline int no_address(u64 *ctx)
{
	return 0;
}

/* socket_sendmsg(sock, msg, size) */
static __always_inline int message_address(u64 *ctx)
{
	return read_u64(ctx[1] + OFF_MSG_NAME) != 0;
}

/*
 * Rules on calls come first. Where there are none, what the call is gets looked up for the record alone.
 */
#if defined(CALLS)
#define FIND_CALL_BEFORE(judged) find_call(judged)
#define FIND_CALL_AFTER(judged)
#else
#define FIND_CALL_BEFORE(judged)
#define FIND_CALL_AFTER(judged) find_call(judged)
#endif

#define HOOK(index, symbol, judge, address, standing)				\
int symbol(u64 *ctx)								\
{										\
	struct judged judged = {.hook = index};					\
	int concerned = concerns(&judged.who);					\
	u32 rule, other;							\
										\
	if (is_self_test(&judged.who, index))					\
		return -EUCLEAN;						\
	beat(&judged.who, index);						\
	if (!concerned)								\
		return 0;							\
	FIND_CALL_BEFORE(&judged);						\
	rule = call_rule(&judged, address(ctx));				\
	if (!rule || is_audit(rule)) {						\
		other = standing(ctx, &judged);					\
		if (!other)							\
			other = judge(ctx, &judged);				\
		if (other && rule)						\
			count_hit(rule);					\
		if (other)							\
			rule = other;						\
	}									\
	if (!rule)								\
		return 0;							\
	FIND_CALL_AFTER(&judged);						\
	return (int)CARRY_OUT(&judged, rule);					\
}

#define STANDING(index, symbol, standing)					\
int symbol(u64 *ctx)								\
{										\
	struct judged judged = {.hook = index};					\
	int concerned = concerns(&judged.who);					\
	u32 rule;								\
										\
	if (is_self_test(&judged.who, index))					\
		return -EUCLEAN;						\
	beat(&judged.who, index);						\
	if (!concerned)								\
		return 0;							\
	rule = standing(ctx, &judged);						\
	if (!rule)								\
		return 0;							\
	find_call(&judged);							\
	return (int)refuse(&judged, rule);					\
}

/* What the current task is does not matter: it may be any that an interrupt met. */
#define ALWAYS(index, symbol, standing)						\
int symbol(u64 *ctx)								\
{										\
	struct judged judged = {.hook = index};					\
	u32 rule = standing(ctx, &judged);					\
										\
	if (!rule)								\
		return 0;							\
	if (!concerns(&judged.who)) {						\
		count_hit(rule);						\
		return is_audit(rule) ? 0 : -EPERM;				\
	}									\
	find_call(&judged);							\
	return (int)refuse(&judged, rule);					\
}
