/* SPDX-License-Identifier: GPL-2.0-only */
/* i386's socketcall and ipc: one number, and which call it is, in the first argument. Needs event.h and filter.h. */
#ifndef ISOTRACE_DEMUX_H
#define ISOTRACE_DEMUX_H

#define SOCKETCALL 102
#define IPC 117
#define SOCKETCALLS 20
#define IPC_CALL 0xffff		/* the rest of ipc's first argument is a version */
#define IPC_OLD_MSGRCV 12	/* version 0: pointer and type are in memory, struct ipc_kludge of linux/ipc.h */
enum { SEMOP = 1, SEMGET, SEMCTL, SEMTIMEDOP, MSGSND = 11, MSGRCV, MSGGET, MSGCTL, SHMAT = 21, SHMDT, SHMGET, SHMCTL };

/* How many arguments each has, four bits a call: nargs[] of net/socket.c. */
static __always_inline u32 socketcall_arguments(u32 call)
{
	return call < 16 ? 0x5526644433323330ULL >> 4 * call & 15 : 0x45433 >> 4 * (call - 16) & 15;
}

static __always_inline void set_args(u64 *args, u64 a, u64 b, u64 c, u64 d, u64 e)
{
	args[0] = a;
	args[1] = b;
	args[2] = c;
	args[3] = d;
	args[4] = e;
	args[5] = 0;
}

/* The slot of the call that it is, whose arguments `args` then has; 0 where there is none, or they cannot be read. */
static __always_inline u32 demux_socketcall(u64 *args)
{
	u32 words[6] = {}, call = args[0], size = socketcall_arguments(call & 31) * 4;

	if (call < 1 || call > SOCKETCALLS)
		return 0;
	asm volatile("" : "+r"(size));
	size &= 31;
	if (size > sizeof(words) || read_user(words, size, (void *)args[1]))
		return 0;
	set_args(args, words[0], words[1], words[2], words[3], words[4]);
	args[5] = words[5];
	return SLOT_SOCKETCALL + call;
}

static __always_inline u32 demux_ipc(u64 *args)
{
	u64 first = args[1], second = args[2], third = args[3], pointer = args[4], fifth = args[5];
	u32 call = args[0] & IPC_CALL, old = !(args[0] >> 16), words[2] = {};

	if (call == SEMOP)
		set_args(args, first, pointer, second, 0, 0);
	else if (call == SEMTIMEDOP)
		set_args(args, first, pointer, second, fifth, 0);
	else if (call == SEMGET || call == SHMGET)
		set_args(args, first, second, third, 0, 0);
	else if (call == MSGSND)
		set_args(args, first, pointer, second, third, 0);
	else if (call == MSGGET)
		set_args(args, first, second, 0, 0, 0);
	else if (call == MSGCTL || call == SHMCTL)
		set_args(args, first, second, pointer, 0, 0);
	else if (call == SHMAT)
		set_args(args, first, pointer, second, 0, 0);
	else if (call == SHMDT)
		set_args(args, pointer, 0, 0, 0, 0);
	else if (call == MSGRCV && !old)
		set_args(args, first, pointer, second, fifth, third);
	else if (call == MSGRCV || call == SEMCTL) {
		if (read_user(words, call == SEMCTL ? 4 : 8, (void *)pointer))
			return 0;
		if (call == SEMCTL)
			set_args(args, first, second, third, words[0], 0);
		else
			set_args(args, first, words[0], second, (s64)(s32)words[1], third);
	} else
		return 0;
	return SLOT_IPC + call;
}

static __always_inline u32 demultiplexed(u32 number, u64 *args)
{
	return number == SOCKETCALL ? demux_socketcall(args) : demux_ipc(args);
}

/* The slot that a call's number has: what is multiplexed by socketcall and ipc has another. */
static __always_inline u32 number_slot(u32 slot)
{
	if (slot < SLOT_SOCKETCALL || slot >= SLOT_MULTIPLEXED_END)
		return slot;
	return SLOT_I386 + (slot < SLOT_IPC ? SOCKETCALL : IPC);
}

#endif
