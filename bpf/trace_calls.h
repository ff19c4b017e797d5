/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs that on_exit tail-calls, one a shape of arguments. Need trace_captures.h. */
#ifndef ISOTRACE_TRACE_CALLS_H
#define ISOTRACE_TRACE_CALLS_H

/* Registers only. */
int exit_plain(struct call_context *ctx)
{
	struct scratch *scratch = returned(ctx);

	if (scratch) {
		capture_stack(scratch, REGISTERS(ctx));
		finish(scratch);
	}
	return 0;
}

static __always_inline int same_call(struct event *event, struct event *other)
{
	return event->slot == other->slot && event->args[0] == other->args[0] && event->args[1] == other->args[1] &&
	       event->args[2] == other->args[2] && event->args[3] == other->args[3] && event->args[4] == other->args[4] &&
	       event->args[5] == other->args[5];
}

/*
 * What enter_before kept of this call, to the record. Nothing of another call: one that the filter no longer matched when it returned, or an entry
 * that a call has which seccomp refused, for it comes to no sys_enter.
 */
static __always_inline void take_before(struct scratch *scratch)
{
	u64 task = CURRENT();
	struct before *found = given.lookup(&task);
	struct event *event = &scratch->event;
	u32 size;

	if (!found)
		return;
	size = found->event.size - sizeof(struct event);
	asm volatile("" : "+r"(size));
	size &= 2 * BEFORE - 1;
	if (same_call(event, &found->event) && size <= BEFORE) {
		read_kernel(scratch->memory, size, found->bytes);
		event->size += size;
		event->blobs += found->event.blobs;
	}
	given.delete(&task);
}

/* How much of a buffer is copied. */
static __always_inline u32 limit_of(struct scratch *scratch, struct capture *one)
{
	return scratch->most > one->limit ? scratch->most : one->limit;
}

static __always_inline int memory_record(struct call_context *ctx)
{
	struct scratch *scratch = returned(ctx);
	struct captures *plan;
	struct event *event;
	u32 slot;

	if (!scratch)
		return 0;
	event = &scratch->event;
	slot = event->slot;
	plan = captures.lookup(&slot);
	if (!plan)
		return 0;
	if (plan->before)
		take_before(scratch);
	scratch->most = note_netlink(scratch, plan);
	_Pragma("nounroll")
	for (u32 i = 0; i < CAPTURES; i++) {
		struct capture *one = &plan->list[i];
		u64 address = event->args[one->arg & 7];

		if (one->op == OP_NONE)
			break;
		if (one->on_success && failed(event))
			continue;
#if defined(UNABBREVIATED)
		if (one->op == OP_PROGRAM) {
			capture_program(scratch, one, address);
			continue;
		}
#endif
		if (one->op == OP_STRING)
			capture_string(scratch, one->arg, address, one->limit);
		else
			capture_readable(scratch, one->arg, PART_SELF, address, length_of(event, one->length) * one->unit,
					 i ? one->limit : limit_of(scratch, one));
	}
#if defined(DESCRIPTORS)
	capture_made(scratch, plan->files);
	capture_bases(scratch, slot);
#endif
	capture_stack(scratch, REGISTERS(ctx));
	finish(scratch);
	return 0;
}

/* Strings, buffers, structs and socket addresses, as `captures` says for the slot. */
int exit_memory(struct call_context *ctx)
{
	return memory_record(ctx);
}

/* fork, vfork, clone, clone3: the new task returns as well, with 0, from a call that it did not make. */
int exit_fork(struct call_context *ctx)
{
	if (RESULT(ctx) == 0)
		return 0;
	return memory_record(ctx);
}

static __always_inline int vector_record(struct call_context *ctx, int compat)
{
	struct scratch *scratch = returned(ctx);
	struct captures *plan;
	struct capture *one;
	struct event *event;
	u64 address;
	u32 slot;

	if (!scratch)
		return 0;
	event = &scratch->event;
	slot = event->slot;
	plan = captures.lookup(&slot);
	if (!plan)
		return 0;
	if (plan->before)
		take_before(scratch);
	scratch->most = note_netlink(scratch, plan);
	one = &plan->list[0];
	address = event->args[one->arg & 7];
	scratch->total = one->on_success ? length_of(event, LEN_RESULT) : ~0ULL;
	if (!(one->on_success && failed(event))) {
		if (one->op == OP_IOVEC)
			capture_iovec(scratch, one->arg, address, length_of(event, one->length), limit_of(scratch, one), compat);
		else
			capture_msghdr(scratch, one->arg, address, compat ? sizeof(struct compat_msghdr) : sizeof(struct user_msghdr),
				       limit_of(scratch, one), compat);
	}
	capture_stack(scratch, REGISTERS(ctx));
	finish(scratch);
	return 0;
}

/* readv, writev, sendmsg, recvmsg and their kin. */
int exit_vector(struct call_context *ctx)
{
	return vector_record(ctx, 0);
}

int exit_vector32(struct call_context *ctx)
{
	return vector_record(ctx, 1);
}

/* sendmmsg and recvmmsg: the first messages. A mmsghdr is a msghdr and the bytes that were sent or received. */
static __always_inline int messages_record(struct call_context *ctx, int compat)
{
	u32 header = compat ? sizeof(struct compat_msghdr) : sizeof(struct user_msghdr);
	u32 size = compat ? header + 4 : header + 8, slot;
	struct scratch *scratch = returned(ctx);
	struct captures *plan;
	struct capture *one;
	struct event *event;

	if (!scratch)
		return 0;
	event = &scratch->event;
	slot = event->slot;
	plan = captures.lookup(&slot);
	if (!plan)
		return 0;
	if (plan->before)
		take_before(scratch);
	scratch->most = note_netlink(scratch, plan);
	one = &plan->list[1];	/* recvmmsg's time */
	if (one->op == OP_BYTES)
		capture_readable(scratch, one->arg, PART_SELF, event->args[one->arg & 7], one->unit, one->limit);
	one = &plan->list[0];
	scratch->msg_at = event->args[one->arg & 7];
	scratch->msg_count = one->on_success && failed(event) ? 0 : length_of(event, one->length);
	_Pragma("nounroll")
	for (u32 i = 0; i < MESSAGES; i++) {
		u64 address = scratch->msg_at + i * size;

		if (i >= scratch->msg_count)
			break;
		scratch->total = one->on_success ? 0 : ~0ULL;
		if (one->on_success)
			read_user(&scratch->total, sizeof(u32), (void *)(address + header));
		capture_msghdr(scratch, one->arg, address, size, limit_of(scratch, one), compat);
	}
	capture_stack(scratch, REGISTERS(ctx));
	finish(scratch);
	return 0;
}

int exit_messages(struct call_context *ctx)
{
	return messages_record(ctx, 0);
}

int exit_messages32(struct call_context *ctx)
{
	return messages_record(ctx, 1);
}

#endif
