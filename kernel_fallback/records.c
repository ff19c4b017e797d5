// SPDX-License-Identifier: GPL-2.0-only
/* The records of a call, and of what is no call. What is recorded when, and why, is told in bpf/trace.c and its headers. */
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>
#include <linux/cred.h>
#include <linux/signal.h>
#include <asm/syscall.h>
#include "call.h"
#include "capture.h"
#include "records.h"
#include "ring.h"

#define UCONTEXT_AX 144
#define UCONTEXT_MASK 296
#define RT_FRAME32_AX 204	/* from sp at i386's rt_sigreturn: 4 below it struct rt_sigframe_ia32 begins */
#define RT_FRAME32_MASK 248
#define FRAME32_AX 44		/* from sp at i386's sigreturn, where its struct sigcontext_32 lies */
#define FRAME32_MASK 80
#define SIGINFO 48		/* bytes of struct kernel_siginfo: all of its fields, none of its padding */

void begin_record(struct event *event, const struct who *who, u8 abi, u32 number, u32 slot)
{
	memset(event, 0, sizeof(*event));
	event->time = ktime_get_mono_fast_ns();
	event->pid = who->pid;
	event->tid = task_pid_nr(current);
	event->ppid = who->ppid;
	event->uid = from_kuid(&init_user_ns, current_uid());
	event->number = number;
	event->slot = slot;
	event->kind = KIND_CALL;
	event->abi = abi;
	event->size = sizeof(*event);
	strscpy_pad(event->comm, current->comm, sizeof(event->comm));	/* what is behind the NUL is an earlier name's */
}

/* Sends the CPU's record; returns whether there was room. The reader is woken for every `watermark` bytes of a CPU. */
bool send_record(struct session *session, struct cpu_state *cpu)
{
	u32 size = round_up(cpu->scratch.event.size + RING_HEADER, RECORD_ALIGN) - RING_HEADER;

	if (!ring_write(session->ring, &cpu->scratch, size))
		return false;
	cpu->sent += size;
	if (cpu->sent >= session->watermark) {
		cpu->sent = 0;
		irq_work_queue(&session->ring->wake);
	}
	return true;
}

static void finish(struct session *session, struct cpu_state *cpu)
{
	u32 slot = cpu->scratch.event.slot;

	cpu->seen[slot]++;
	if (!send_record(session, cpu))
		cpu->lost[slot]++;
}

static void send_extra(struct session *session, struct cpu_state *cpu)
{
	if (!send_record(session, cpu))
		cpu->extras_lost++;
}

static bool failed(const struct event *event)
{
	return event->result < 0 && event->result >= -4095;
}

/* ---- when a call returns ---- */

static void exec_returned(struct session *session, struct scratch *scratch, const struct pt_regs *regs)
{
	scratch->event.args[5] = (u64)current;
	if (failed(&scratch->event))
		capture_exec(scratch, session->string_limit);
	else	/* the new program's stack, in its own ABI */
		capture_new_argv(scratch, regs->sp, in_ia32_syscall() ? 4 : 8, session->string_limit);
}

/* The memory that the call is shown with; whether there is a record at all. */
static bool returned(struct session *session, struct scratch *scratch, const struct pt_regs *regs)
{
	const struct slot_plan *plan = &session->slots[scratch->event.slot];

	switch (plan->exit) {
	case ISOTRACE_EXIT_NONE:
		return false;
	case ISOTRACE_EXIT_FORK:	/* the new task returns as well, from a call that it did not make */
		if (scratch->event.result == 0)
			return false;
		fallthrough;
	case ISOTRACE_EXIT_MEMORY:
		capture_memory(scratch, &plan->captures);
		break;
	case ISOTRACE_EXIT_EXEC:
		exec_returned(session, scratch, regs);
		break;
	case ISOTRACE_EXIT_VECTOR:
	case ISOTRACE_EXIT_VECTOR32:
		capture_vector(scratch, &plan->captures.list[0], plan->exit == ISOTRACE_EXIT_VECTOR32);
		break;
	case ISOTRACE_EXIT_MESSAGES:
	case ISOTRACE_EXIT_MESSAGES32:
		capture_messages(scratch, &plan->captures.list[0], plan->exit == ISOTRACE_EXIT_MESSAGES32);
		break;
	}
	return true;
}

/*
 * When execve or execveat has succeeded, the registers say execve of the new program's ABI, whatever was called
 * (set_personality_64bit and set_personality_ia32 in arch/x86/kernel/process_64.c): on_call_enter() noted what it was.
 */
static void recall_exec(struct thread_note *note, u8 *abi, u32 *number)
{
	if (!note || !note->exec_number || !is_exec(*abi, *number))
		return;
	*number = note->exec_number - 1;
	*abi = note->exec_abi;
	note->exec_number = 0;
}

void on_call_exit(struct session *session, struct pt_regs *regs, long result)
{
	struct cpu_state *cpu = my_cpu(session);
	struct event *event = &cpu->scratch.event;
	struct thread_note *note;
	struct who who;
	u8 abi;
	u32 number = call_number(regs, &abi);

	if (number == (u32)-1 || !is_watched(session, &who))
		return;
	note = note_of(session, task_pid_nr(current), false);
	recall_exec(note, &abi, &number);
	begin_record(event, &who, abi, number, slot_of(abi, number));
	fill_arguments(event->args, abi, regs);
	event->result = abi == ABI_I386 ? (s32)result : result;
	if (note && note->start) {
		event->duration = event->time - note->start;
		note->start = 0;
	}
	if (returned(session, &cpu->scratch, regs))
		finish(session, cpu);
}

/* ---- when a call begins: what does not come back, or not as it went ---- */

/* The result of a sigreturn is the register that it restores: that and the mask lie in the frame at sp. */
static void sigreturn(struct scratch *scratch, u64 frame, u32 result_at, u32 mask_at, u32 width)
{
	u64 result = 0;

	if (read_user(&result, frame + result_at, width))
		result = 0;
	scratch->event.result = width == 4 ? (s32)result : result;
	capture_mask(scratch, frame + mask_at, width);
}

static void entered(struct session *session, struct cpu_state *cpu, const struct pt_regs *regs)
{
	struct scratch *scratch = &cpu->scratch;
	struct event *event = &scratch->event;

	switch (session->slots[event->slot].enter) {
	case ISOTRACE_ENTER_EXEC:
		event->kind = KIND_EXEC_ENTER;
		event->args[5] = (u64)current;
		capture_exec(scratch, session->string_limit);
		send_extra(session, cpu);
		return;
	case ISOTRACE_ENTER_PLAIN:	/* of -1 the return looks like that of a finished rt_sigreturn */
		event->result = event->number == (u32)-1 ? -ENOSYS : 0;
		break;
	case ISOTRACE_ENTER_SIGRETURN:
		sigreturn(scratch, regs->sp, UCONTEXT_AX, UCONTEXT_MASK, 8);
		break;
	case ISOTRACE_ENTER_SIGRETURN32:
		sigreturn(scratch, regs->sp, FRAME32_AX, FRAME32_MASK, 4);
		break;
	case ISOTRACE_ENTER_RT_SIGRETURN32:
		sigreturn(scratch, regs->sp, RT_FRAME32_AX, RT_FRAME32_MASK, 4);
		break;
	default:
		return;
	}
	finish(session, cpu);
}

void on_call_enter(struct session *session, struct pt_regs *regs)
{
	struct cpu_state *cpu = my_cpu(session);
	u8 abi;
	u32 number = call_number(regs, &abi);
	bool durations = session->flags & ISOTRACE_F_DURATIONS, exec = is_exec(abi, number);
	struct thread_note *note;
	struct who who;
	u32 slot;

	if (exec)
		activate_command(session);
	slot = slot_of(abi, number);
	if (!(session->slots[slot].enter || durations || exec) || !is_watched(session, &who))
		return;
	note = durations || exec ? note_of(session, task_pid_nr(current), true) : NULL;
	if (note) {
		note->start = durations ? ktime_get_mono_fast_ns() : 0;
		note->exec_number = exec ? number + 1 : 0;
		note->exec_abi = abi;
	}
	if ((slot & SLOT_UNKNOWN) == SLOT_UNKNOWN && number != (u32)-1)
		return;
	begin_record(&cpu->scratch.event, &who, abi, number, slot);
	fill_arguments(cpu->scratch.event.args, abi, regs);
	entered(session, cpu, regs);
}

/* ---- what is no call ---- */

static struct cpu_state *notice(struct session *session, u8 kind, s64 result)
{
	struct cpu_state *cpu = my_cpu(session);
	struct who who;

	if (!is_watched(session, &who))
		return NULL;
	begin_record(&cpu->scratch.event, &who, ABI_X86_64, 0, 0);
	cpu->scratch.event.kind = kind;
	cpu->scratch.event.result = result;
	return cpu;
}

/* The task executes `file`; it may have been another thread of its group until now, `old_pid`. */
void on_exec(struct session *session, pid_t old_pid, const char *file, bool script)
{
	struct thread_note *old = note_of(session, old_pid, false), *note;
	struct cpu_state *cpu;

	if (old && old_pid != task_pid_nr(current)) {
		note = note_of(session, task_pid_nr(current), true);
		if (note)
			*note = *old;
		memset(old, 0, sizeof(*old));
	}
	cpu = notice(session, KIND_EXEC_NAME, script);
	if (!cpu)
		return;
	cpu->scratch.event.args[5] = (u64)current;
	capture_kernel_string(&cpu->scratch, file);
	send_extra(session, cpu);
}

void on_task_exit(struct session *session)
{
	struct thread_note *note = note_of(session, task_pid_nr(current), false);
	struct cpu_state *cpu = notice(session, KIND_TASK_EXIT, current->exit_code);

	if (cpu)
		send_extra(session, cpu);
	if (note)
		memset(note, 0, sizeof(*note));
}

/* Without siginfo it is no signal, but the end of a thread whose group exits or is killed (SEND_SIG_NOINFO in get_signal). */
void on_signal(struct session *session, int number, const void *info)
{
	struct cpu_state *cpu = info ? notice(session, KIND_SIGNAL, number) : NULL;

	if (!cpu)
		return;
	capture_kernel(&cpu->scratch, info, min_t(size_t, SIGINFO, sizeof(struct kernel_siginfo)));
	send_extra(session, cpu);
}
