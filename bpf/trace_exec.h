/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * execve and execveat. Needs trace_captures.h.
 *
 * A failed execve is one record, made at exit. Of one that succeeds the arguments are gone by then, and at enter a page of them may not be
 * resident yet: so KIND_EXEC_ENTER brings what could be read at enter, KIND_EXEC_NAME the file's name from the kernel's own copy, and the record at
 * exit the arguments as they lie on the new program's stack. With UNABBREVIATED the environment, too. The tid may change between them. args[5] is the task's address in all three, and
 * args[0] of the last two the time of the first, or EXEC_UNSEEN: they are of one execve, not of one before it whose end had no record.
 */
#ifndef ISOTRACE_TRACE_EXEC_H
#define ISOTRACE_TRACE_EXEC_H

/* Behind strings: that these are all, or that there are more. A record that is full has room for it: its size is counted with the event's own. */
static __always_inline void end_strings(struct scratch *scratch, u8 arg, u64 more)
{
#if defined(UNABBREVIATED)
	u32 at = scratch->event.size;
	struct blob *blob;

	asm volatile("" : "+r"(at));
	at &= 0x7fff;
	if (at > MEMORY + sizeof(struct event) - sizeof(*blob))
		return;
	blob = (void *)scratch + at;
	blob->arg = arg;
	blob->part = PART_IOV;
	blob->state = more ? BLOB_CUT : BLOB_WHOLE;
	blob->full = 0;
	close_blob(&scratch->event, blob, 0);
#endif
}

static __always_inline void capture_strings(struct scratch *scratch, u8 arg, u8 part, u64 address, u32 width)
{
	u64 pointer = 0;

	if (!address)
		return;
	_Pragma("nounroll")
	for (u32 i = 0; i <= ARGUMENTS; i++) {
		pointer = 0;
		if (read_user(&pointer, width, (void *)(address + i * width))) {
			if (i < ARGUMENTS)
				capture_bytes(scratch, arg, PART_IOV, address + i * width, width, width);
			return;
		}
		if (!pointer || i == ARGUMENTS || !capture_text(scratch, arg, part, pointer, STRING_LIMIT))
			break;
	}
	end_strings(scratch, arg, pointer);
}

/* An empty blob whose `full` is the number of environment variables; a fault where what is behind these could not be read. */
static __always_inline void count_envp(struct scratch *scratch, u8 arg, u64 address)
{
	u32 width = scratch->event.abi == ABI_I386 ? 4 : 8;
	struct blob *blob;
	long failed = 0;
	u32 i;

	if (!address)
		return;
	_Pragma("nounroll")
	for (i = 0; i < VARIABLES; i++) {
		u64 pointer = 0;

		failed = read_user(&pointer, width, (void *)(address + i * width));
		if (failed || !pointer)
			break;
	}
	blob = new_blob(scratch, arg, PART_SELF, i);
	if (!blob)
		return;
	close_blob(&scratch->event, blob, 0);
	if (failed)
		blob->state = BLOB_FAULT;
}

/* The position of the path among the arguments: execveat has a directory before it. */
static __always_inline u32 path_arg(struct event *event)
{
	if (event->abi == ABI_I386)
		return event->number == 358;
	return event->number == 322 || event->number == (545 | X32_BIT);
}

/* The strings of an argv, and, with UNABBREVIATED, of an envp; the verifier goes through all of it, so there is one place in a program for it. */
static __always_inline void capture_vectors(struct scratch *scratch, u8 arg, u64 argv, u64 envp, u32 width)
{
	capture_strings(scratch, arg, PART_SELF, argv, width);
#if defined(UNABBREVIATED)
	capture_strings(scratch, arg + 1, PART_DATA, envp, width);
#endif
}

/* Of what an execve was given all but these strings. */
static __always_inline void capture_given(struct scratch *scratch, u32 at)
{
	struct event *event = &scratch->event;

	capture_string(scratch, at, event->args[at], STRING_MAX - 1);
	count_envp(scratch, at + 2, event->args[at + 2]);
}

int exit_exec(struct call_context *ctx)
{
	struct scratch *scratch = returned(ctx);
	struct event *event;
	u64 argv, envp, sp = 0, count = 0;
	u32 width, at;

	if (!scratch)
		return 0;
	event = &scratch->event;
	at = path_arg(event) & 1;
	if (failed(event)) {
		width = event->abi == ABI_I386 ? 4 : 8;
		argv = event->args[at + 1];
		envp = event->args[at + 2];
		capture_given(scratch, at);
	} else {	/* on the new program's stack: how many arguments, they, NULL, its environment */
		read_kernel(&sp, sizeof(sp), (void *)(REGISTERS(ctx) + offsetof(struct registers, sp)));
		width = abi_of(CURRENT(), 0) == ABI_I386 ? 4 : 8;
		argv = sp + width;
		envp = read_user(&count, width, (void *)sp) ? 0 : sp + (count + 2) * width;
	}
	capture_vectors(scratch, at + 1, argv, envp, width);
	if (failed(event))
		capture_stack(scratch, REGISTERS(ctx));
	else
		event->args[0] = scratch->stamp;
	event->args[5] = bpf_get_current_task();
	finish(scratch);
	return 0;
}

int enter_exec(struct call_context *ctx)
{
	struct scratch *scratch = get_scratch(AT_ENTER);
	struct event *event;
	u32 at;

	if (!scratch)
		return 0;
	event = &scratch->event;
	complete(event, REGISTERS(ctx), 0);
	event->kind = KIND_EXEC_ENTER;
	event->time = scratch->stamp;
	event->args[5] = bpf_get_current_task();
#if defined(DESCRIPTORS)
	if (path_arg(event) & 1) {
		_Pragma("nounroll")
		for (u32 i = 0; i < TURNS; i++)
			capture_descriptor(scratch, AT_ENTER, 0, i ? PART_PLACE : PART_FILE, event->args[0], 1);
	}
#endif
	at = path_arg(event) & 1;
	capture_given(scratch, at);
	capture_vectors(scratch, at + 1, event->args[at + 1], event->args[at + 2], event->abi == ABI_I386 ? 4 : 8);
	capture_stack(scratch, REGISTERS(ctx));
	send_extra(scratch, STAT_EXTRAS_LOST);
	return 0;
}

/*
 * When execve or execveat has succeeded, the registers say execve of the new program's ABI, whatever was called (set_personality_64bit and
 * set_personality_ia32 in arch/x86/kernel/process_64.c): on_enter leaves here what it was, and when.
 */
struct exec_call {
	u32 number;
	u32 abi;
	u64 pid;
	u64 time;
};
BPF_HASH(executing, u64, struct exec_call, 16384);	/* by task: never by &who->task, which the verifier (up to 6.14) takes for a number from then on */

#define EXEC_UNSEEN 1		/* in the place of a time: the beginning has no record */

static __always_inline void remember_exec(struct who *who, u8 abi, s32 number)
{
	struct exec_call call = { number, abi, who->pid, 0 };
	struct scratch *scratch;
	u64 task = who->task;

	if (!is_exec(abi, number))
		return;
	scratch = get_scratch(AT_ENTER);
	if (!scratch)
		return;
	call.time = scratch->stamp = bpf_ktime_get_ns();
	executing.update(&task, &call);
}

/* The time that on_enter noted of the execve that the task is in. */
static __always_inline u64 exec_stamp(struct who *who)
{
	u64 task = who->task;
	struct exec_call *call = executing.lookup(&task);

	return call && call->pid == who->pid ? call->time : EXEC_UNSEEN;
}

static __always_inline void recall_exec(struct who *who, u8 *abi, s32 *number)
{
	struct scratch *scratch;
	struct exec_call *call;
	u64 task = who->task;

	if (!is_exec(*abi, *number))
		return;
	scratch = get_scratch(AT_EXIT);
	if (!scratch)
		return;
	scratch->stamp = exec_stamp(who);
	call = executing.lookup(&task);
	if (!call)
		return;
	if (call->pid == who->pid) {
		*number = call->number;
		*abi = call->abi;
	}
	executing.delete(&task);
}

#endif
