// SPDX-License-Identifier: GPL-2.0-only
/*
 * Logging: every call of the watched tasks becomes one record in the ring `events`.
 *
 * on_exit, on the raw tracepoint sys_exit, filters and then tail-calls the program that the call's slot of `exits` holds: one program per shape of
 * arguments. An empty slot ends there: the call was not asked for. pt_regs still holds number and arguments, and the memory that the call touched
 * is resident by then. on_enter does the same for the calls that do not come back, or not as they went.
 *
 * Here are the programs that are attached; those that they tail-call are in the headers. Constants: see filter.h and trace_record.h; OFF_… from the
 * kernel's BTF (isotrace/kernel/btf.py); STRING_LIMIT.
 */
#include <linux/types.h>
#include "event.h"
#include "filter.h"
#include "calls.h"
#include "demux.h"
#if defined(CONTAINERS)
#include "whereabouts.h"
#endif
#include "trace_record.h"
#include "trace_captures.h"
#include "trace_files.h"
#include "trace_stacks.h"
#include "trace_calls.h"
#include "trace_exec.h"
#include "trace_enter.h"
#include "trace_demux.h"
#include "rings.h"
#include "trace_rings.h"

int on_exit(struct call_context *ctx)
{
	struct scratch *scratch;
	struct who who;
	s32 number;
	u32 slot;
	u8 abi;

	if (!is_watched(&who)) {
		forget_thread();
		return 0;
	}
	number = original_number(REGISTERS(ctx));
	abi = abi_of(who.task, number);
	if (number == -1) {
		finish_sigreturn();
		return 0;
	}
	recall_exec(&who, &abi, &number);
	slot = slot_of(abi, number);
	scratch = get_scratch(AT_EXIT);
	if (!scratch)
		return 0;
	begin(&scratch->event, &who, abi, number, slot);
	exits.call(ctx, slot);
	return 0;
}

/* Whether any ABI has, under this number, a call that is looked at when it begins: a first, cheap test. tests/test_plan.py keeps the list. */
static __always_inline int maybe_special(s32 number)
{
	switch (number) {
	case 1: case 11: case 15: case 23: case 35: case 40: case 43: case 45: case 47: case 51: case 52: case 55: case 59: case 60: case 102: case 117: case 119:
	case 125: case 142: case 162: case 173: case 184: case 187: case 230: case 231: case 239: case 252: case 267: case 270: case 271:
	case 275: case 288: case 298: case 299: case 308: case 309: case 313: case 314: case 322: case 326: case 336: case 337: case 351: case 358:
	case 364: case 365: case 367:
	case 368: case 371: case 372: case 377: case 407: case 413: case 414: case 417: case 459: case 461: case -1:
		return 1;
	}
	return number & X32_BIT ? 1 : 0;
}

int on_enter(struct call_context *ctx)
{
	struct scratch *scratch;
	struct who who;
	s32 number = NUMBER(ctx);
	u32 slot;
	u8 abi;

#if !defined(MEASURE_TIME) && !defined(DESCRIPTORS)
	if (!maybe_special(number))
		return 0;
#endif
	abi = abi_of(CURRENT(), number);
	activate(abi, number);
	if (!is_watched(&who))
		return 0;
	slot = slot_of(abi, number);
	note_thread();
	note_start(who.task, slot);
	forget_sigreturn(who.task, number);
	remember_exec(&who, abi, number);
	scratch = get_scratch(AT_ENTER);
	if (!scratch || ((slot & SLOT_UNKNOWN) == SLOT_UNKNOWN && number != -1))
		return 0;
	begin(&scratch->event, &who, abi, number, slot);
	enters.call(ctx, slot);
	return 0;
}

/* A record about the current task that is not a call. */
static __always_inline struct scratch *note(u32 owner, struct who *who, u8 kind, s64 result)
{
	struct scratch *scratch = get_scratch(owner);
	struct event *event;

	if (!scratch)
		return NULL;
	event = &scratch->event;
	begin(event, who, ABI_X86_64, 0, 0);
	event->kind = kind;
	event->result = result;
	event->time = bpf_ktime_get_ns();
	return scratch;
}

int on_task_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct scratch *scratch;
	struct blob *blob;
	struct who who;
	long got;
	u64 file;

	if (!is_watched(&who)) {
		u64 task = CURRENT();

		executing.delete(&task);	/* by another name, say, it is watched no more */
		forget_call(task);	/* it may have another number by now */
		return 0;
	}
	file = read_u64(ctx->args[2] + OFF_BPRM_FILENAME);
	scratch = note(AT_TASK_EXEC, &who, KIND_EXEC_NAME, file != read_u64(ctx->args[2] + OFF_BPRM_INTERP));
	if (!scratch)
		return 0;
	scratch->event.args[0] = exec_stamp(&who);
	scratch->event.args[5] = who.task;
	blob = new_blob(scratch, 0, PART_SELF, 0);
	if (!blob)
		return 0;
	got = read_kernel_string(blob + 1, STRING_MAX, (void *)file);
	close_blob(&scratch->event, blob, got);
	send_extra(scratch, STAT_EXTRAS_LOST);
	return 0;
}

/*
 * A thread that is not the leader and calls execve ends all others and takes the leader's number: so the process goes on. Its number, or 0. On a dump
 * of core older kernels use the same member; then the leader's status is not 0.
 */
static __always_inline u64 superseding(struct who *who, s64 status)
{
#if defined(OFF_EXECUTOR)
	u64 executor = read_u64(read_u64(who->task + OFF_SIGNAL) + OFF_EXECUTOR);

	if (status || !executor || executor == who->task || OWN_PID() != who->pid)
		return 0;
	return PID_OF(executor);
#else
	return 0;
#endif
}

int on_task_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct scratch *scratch;
	struct who who;
	u64 task = CURRENT();

	/* whoever it is: its address will be another's */
	forget_call(task);
	executing.delete(&task);
	if (!is_watched(&who))
		return 0;
	scratch = note(AT_TASK_EXIT, &who, KIND_TASK_EXIT, read_u32(who.task + OFF_EXIT_CODE));
	if (!scratch)
		return 0;
	scratch->event.args[0] = superseding(&who, scratch->event.result);
	send_extra(scratch, STAT_EXTRAS_LOST);
	return 0;
}

int on_signal(struct bpf_raw_tracepoint_args *ctx)
{
	struct scratch *scratch;
	struct blob *blob;
	struct who who;
	long got;

	/* No siginfo: not a signal, but the end of a thread whose group exits or is killed (SEND_SIG_NOINFO in get_signal). */
	if (!ctx->args[1] || !is_watched(&who))
		return 0;
	scratch = note(AT_SIGNAL, &who, KIND_SIGNAL, (s32)ctx->args[0]);
	if (!scratch)
		return 0;
	blob = new_blob(scratch, 0, PART_SELF, SIGINFO);
	if (!blob)
		return 0;
	got = read_kernel(blob + 1, SIGINFO, (void *)ctx->args[1]);
	close_blob(&scratch->event, blob, got == 0 ? SIGINFO : got);
	send_extra(scratch, STAT_EXTRAS_LOST);
	return 0;
}

#include "descendants.h"
