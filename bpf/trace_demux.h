/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * i386's socketcall and ipc: one number, and which call it is, in the first argument. The programs that have their slots find the call that it is, put
 * its arguments where those of every call are, and tail-call the program that serves it. Needs trace_captures.h.
 */
#ifndef ISOTRACE_TRACE_DEMUX_H
#define ISOTRACE_TRACE_DEMUX_H

#define SOCKETCALL 102
#define SOCKETCALLS 20
#define IPC_CALL 0xffff		/* the rest of ipc's first argument is a version */
#define IPC_OLD_MSGRCV 12	/* version 0: pointer and type are in memory, struct ipc_kludge of linux/ipc.h */
enum { SEMOP = 1, SEMGET, SEMCTL, SEMTIMEDOP, MSGSND = 11, MSGRCV, MSGGET, MSGCTL, SHMAT = 21, SHMDT, SHMGET, SHMCTL };

/* How many arguments each has, four bits a call: nargs[] of net/socket.c. */
static __always_inline u32 socketcall_arguments(u32 call)
{
	return call < 16 ? 0x5526644433323330ULL >> 4 * call & 15 : 0x45433 >> 4 * (call - 16) & 15;
}

static __always_inline void set_args(struct event *event, u64 a, u64 b, u64 c, u64 d, u64 e)
{
	event->args[0] = a;
	event->args[1] = b;
	event->args[2] = c;
	event->args[3] = d;
	event->args[4] = e;
	event->args[5] = 0;
}

/* The slot of the call that it is, whose arguments the event then has; 0 where there is none, or they cannot be read. */
static __always_inline u32 demux_socketcall(struct event *event)
{
	u32 words[6] = {}, call = event->args[0], size = socketcall_arguments(call & 31) * 4;

	if (call < 1 || call > SOCKETCALLS)
		return 0;
	asm volatile("" : "+r"(size));
	size &= 31;
	if (size > sizeof(words) || read_user(words, size, (void *)event->args[1]))
		return 0;
	set_args(event, words[0], words[1], words[2], words[3], words[4]);
	event->args[5] = words[5];
	return SLOT_SOCKETCALL + call;
}

static __always_inline u32 demux_ipc(struct event *event)
{
	u64 first = event->args[1], second = event->args[2], third = event->args[3], pointer = event->args[4], fifth = event->args[5];
	u32 call = event->args[0] & IPC_CALL, old = !(event->args[0] >> 16), words[2] = {};

	if (call == SEMOP)
		set_args(event, first, pointer, second, 0, 0);
	else if (call == SEMTIMEDOP)
		set_args(event, first, pointer, second, fifth, 0);
	else if (call == SEMGET || call == SHMGET)
		set_args(event, first, second, third, 0, 0);
	else if (call == MSGSND)
		set_args(event, first, pointer, second, third, 0);
	else if (call == MSGGET)
		set_args(event, first, second, 0, 0, 0);
	else if (call == MSGCTL || call == SHMCTL)
		set_args(event, first, second, pointer, 0, 0);
	else if (call == SHMAT)
		set_args(event, first, pointer, second, 0, 0);
	else if (call == SHMDT)
		set_args(event, pointer, 0, 0, 0, 0);
	else if (call == MSGRCV && !old)
		set_args(event, first, pointer, second, fifth, third);
	else if (call == MSGRCV || call == SEMCTL) {
		if (read_user(words, call == SEMCTL ? 4 : 8, (void *)pointer))
			return 0;
		if (call == SEMCTL)
			set_args(event, first, second, third, words[0], 0);
		else
			set_args(event, first, words[0], second, (s64)(s32)words[1], third);
	} else
		return 0;
	return SLOT_IPC + call;
}

/* The slot whose program serves the call; what is no call is a record of the multiplexer's own. */
static __always_inline u32 demultiplex(struct event *event, u64 regs)
{
	u32 slot;

	current_args(event->args, event->abi, regs);
	if (event->number == SOCKETCALL) {
		slot = demux_socketcall(event);
		if (!slot)
			return SLOT_SOCKETCALL;
	} else {
		slot = demux_ipc(event);
		if (!slot)
			return SLOT_IPC;
	}
	event->slot = slot;
	return slot;
}

int exit_demux(struct call_context *ctx)
{
	struct scratch *scratch = get_scratch(AT_EXIT);

	if (scratch)
		exits.call(ctx, demultiplex(&scratch->event, REGISTERS(ctx)));
	return 0;
}

int enter_demux(struct call_context *ctx)
{
	struct scratch *scratch = get_scratch(AT_ENTER);

	if (scratch)
		enters.call(ctx, demultiplex(&scratch->event, REGISTERS(ctx)));
	return 0;
}

#endif
