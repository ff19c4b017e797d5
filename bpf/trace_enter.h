/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs that on_enter tail-calls: calls that never return, or whose registers are gone when they do. Need trace_captures.h. */
#ifndef ISOTRACE_TRACE_ENTER_H
#define ISOTRACE_TRACE_ENTER_H

/* exit and exit_group never return; call number -1 is indistinguishable at exit from a finished rt_sigreturn. */
int enter_plain(struct call_context *ctx)
{
	struct scratch *scratch = get_scratch(AT_ENTER);

	if (!scratch)
		return 0;
	complete(&scratch->event, REGISTERS(ctx), scratch->event.number == (u32)-1 ? -ENOSYS : 0);
	capture_stack(scratch, REGISTERS(ctx));
	finish(scratch);
	return 0;
}

/* The result of a sigreturn is the register that it restores: that and the mask lie in the frame at sp. */
static __always_inline int sigreturn_record(struct call_context *ctx, u32 result_at, u32 mask_at, u32 width)
{
	struct scratch *scratch = get_scratch(AT_ENTER);
	u64 frame = 0, result = 0, task = CURRENT();

	if (!scratch)
		return 0;
	complete(&scratch->event, REGISTERS(ctx), 0);
	read_kernel(&frame, sizeof(frame), (void *)(REGISTERS(ctx) + offsetof(struct registers, sp)));
	read_user(&result, width, (void *)(frame + result_at));
	scratch->event.result = width == 4 ? (s32)result : result;
	capture_bytes(scratch, 0, PART_SELF, frame + mask_at, width, width);
#if defined(MEASURE_TIME)
	if (scratch->event.size <= sizeof(struct before) && !given.update(&task, (struct before *)scratch))
		return 0;	/* finish_sigreturn sends it */
#endif
	finish(scratch);
	return 0;
}

/* Of a sigreturn whose end the filter did not match: the call -1 ends as it would. */
static __always_inline void forget_sigreturn(u64 task, s32 number)
{
#if defined(MEASURE_TIME)
	if (number == -1)
		given.delete(&task);
#endif
}

/* With MEASURE_TIME, where a call ends whose number is -1: if that is a sigreturn, which has no number by then, it is known how long it took. */
static __always_inline void finish_sigreturn(void)
{
#if defined(MEASURE_TIME)
	u64 task = CURRENT();
	struct before *found = given.lookup(&task);
	struct scratch *scratch = get_scratch(AT_EXIT);

	if (!found || !scratch || !is_sigreturn(found->event.abi, found->event.number))
		return;
	read_kernel(scratch, sizeof(struct before), found);
	given.delete(&task);
	scratch->event.time = bpf_ktime_get_ns();
	set_duration(&scratch->event);
	finish(scratch);
#endif
}

int enter_sigreturn(struct call_context *ctx)
{
	return sigreturn_record(ctx, UCONTEXT_AX, UCONTEXT_MASK, 8);
}

int enter_rt_sigreturn32(struct call_context *ctx)
{
	return sigreturn_record(ctx, RT_FRAME32_AX, RT_FRAME32_MASK, 4);
}

int enter_sigreturn32(struct call_context *ctx)
{
	return sigreturn_record(ctx, FRAME32_AX, FRAME32_MASK, 4);
}

/* What a call is given where the kernel writes over it, kept until it returns: see take_before. */
int enter_before(struct call_context *ctx)
{
	struct scratch *scratch = get_scratch(AT_ENTER);
	struct captures *plan;
	struct event *event;
	u64 task;
	u32 slot;

	if (!scratch)
		return 0;
	event = &scratch->event;
	take_args(event, REGISTERS(ctx));
	slot = event->slot;
	plan = befores.lookup(&slot);
	if (!plan)
		return 0;
	_Pragma("nounroll")
	for (u32 i = 0; i < CAPTURES * TURNS; i++) {
		struct capture *one = &plan->list[i / TURNS];
		u32 again = i % TURNS;

		if (one->op == OP_NONE)
			break;
#if defined(PLACES)
		if (again && one->op != OP_FILE)
			continue;
#endif
#if defined(DESCRIPTORS)
		if (one->op == OP_FILE || one->op == OP_BASE) {
			capture_row(scratch, AT_ENTER, one, again);
			continue;
		}
#endif
		capture_readable(scratch, one->arg, PART_BEFORE, event->args[one->arg & 7], length_of(event, one->length) * one->unit,
				 one->limit);
	}
	if (!event->blobs || event->size > sizeof(struct before))
		return 0;
	task = CURRENT();
	given.update(&task, (struct before *)scratch);
	return 0;
}

#endif
