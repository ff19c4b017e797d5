/* SPDX-License-Identifier: GPL-2.0-only */
/* Which call it is: ABI, slot, arguments. Needs event.h and filter.h. */
#ifndef ISOTRACE_CALLS_H
#define ISOTRACE_CALLS_H

#define TS_COMPAT 0x0002
#define X32_BIT 0x40000000

/*
 * What sys_enter and sys_exit hand over. With PERF_TRACEPOINTS the programs are attached to the trace events raw_syscalls:sys_enter and sys_exit,
 * which run with preemption disabled also where raw tracepoints do not; the registers are found through the task (helper since 5.15).
 */
#if defined(PERF_TRACEPOINTS)
struct call_context { u64 common; s64 number; s64 result; };
#define REGISTERS(ctx) ((u64)bpf_task_pt_regs((void *)bpf_get_current_task_btf()))
#define NUMBER(ctx) ((s32)(ctx)->number)
#define RESULT(ctx) ((ctx)->result)
#else
#define call_context bpf_raw_tracepoint_args
#define REGISTERS(ctx) ((ctx)->args[0])
#define NUMBER(ctx) ((s32)(ctx)->args[1])
#define RESULT(ctx) ((ctx)->args[1])
#endif

struct registers {
	u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

/*
 * The number of the call that the current task is in, from its registers. It has 32 bits, here and in the kernel (do_syscall_64(regs, int nr),
 * syscall_get_nr()): whatever the caller, or a tracer, has put into the upper half of the register is nothing. Everything that asks for a number
 * gets it from here or from NUMBER(), and keeps it in 32 bits.
 */
static __always_inline s32 original_number(u64 regs)
{
#if defined(DIRECT)
	return (s32)((struct registers *)bpf_task_pt_regs((void *)bpf_get_current_task_btf()))->orig_ax;
#else
	return (s32)read_u64(regs + offsetof(struct registers, orig_ax));
#endif
}

static __always_inline u8 abi_of(u64 task, s32 number)
{
	if (MEMBER_U32(task + OFF_THREAD_INFO + OFF_STATUS) & TS_COMPAT)
		return ABI_I386;
	return number >= 0 && (number & X32_BIT) ? ABI_X32 : ABI_X86_64;
}

static __always_inline u32 slot_of(u8 abi, s32 number)
{
	u32 base = abi == ABI_I386 ? SLOT_I386 : 0;
	u32 index = abi == ABI_X32 ? number & ~X32_BIT : number;

	return base + (index < SLOT_NUMBERS ? index : SLOT_UNKNOWN);
}

static __always_inline void fill_args(u64 *args, u8 abi, struct registers *regs)
{
	if (abi == ABI_I386) {
		args[0] = (u32)regs->bx;
		args[1] = (u32)regs->cx;
		args[2] = (u32)regs->dx;
		args[3] = (u32)regs->si;
		args[4] = (u32)regs->di;
		args[5] = (u32)regs->bp;
	} else {
		args[0] = regs->di;
		args[1] = regs->si;
		args[2] = regs->dx;
		args[3] = regs->r10;
		args[4] = regs->r8;
		args[5] = regs->r9;
	}
}

/* The arguments of the call that the current task is in; `regs` is where its registers lie. */
static __always_inline void current_args(u64 *args, u8 abi, u64 regs)
{
#if defined(DIRECT)
	fill_args(args, abi, (void *)bpf_task_pt_regs((void *)bpf_get_current_task_btf()));
#else
	struct registers copy;

	read_kernel(&copy, sizeof(copy), (void *)regs);
	fill_args(args, abi, &copy);
#endif
}

static __always_inline int is_exec(u8 abi, s32 number)
{
	if (abi == ABI_I386)
		return number == 11 || number == 358;
	return number == 59 || number == 322 || number == (520 | X32_BIT) || number == (545 | X32_BIT);
}

static __always_inline int is_sigreturn(u8 abi, s32 number)
{
	if (abi == ABI_I386)
		return number == 119 || number == 173;
	return number == 15 || number == (513 | X32_BIT);
}

/* A command that isotrace started becomes visible with its execve. */
static __always_inline void activate(u8 abi, s32 number)
{
#if defined(FILTER_TREE)
	u32 pid = OWN_TGID();

	if (is_exec(abi, number) && tree_state(pid) == MEMBER_ARMED)
		set_tree(pid, MEMBER_ACTIVE);
#endif
}

#endif
