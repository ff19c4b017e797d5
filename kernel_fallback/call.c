// SPDX-License-Identifier: GPL-2.0-only
/* Which call the current task is in, by its registers alone; and which functions of the kernel are calls'. */
#include <linux/kallsyms.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <asm/syscall.h>
#include "call.h"

/*
 * The number and ABI of the call that the current task is in. A number has 32 bits, here and in the kernel (do_syscall_64(regs, int nr)): what
 * the caller, or a tracer, has put into the upper half of the register is nothing. Nothing else reads orig_ax.
 */
u32 call_number(struct pt_regs *regs, u8 *abi)
{
	int number = syscall_get_nr(current, regs);

	*abi = in_ia32_syscall() ? ABI_I386 : number >= 0 && (number & X32_BIT) ? ABI_X32 : ABI_X86_64;
	return number;
}

u32 slot_of(u8 abi, u32 number)
{
	u32 index = abi == ABI_X32 ? number & ~X32_BIT : number;

	return (abi == ABI_I386 ? SLOT_I386 : 0) + (index < SLOT_NUMBERS ? index : SLOT_UNKNOWN);
}

bool is_exec(u8 abi, u32 number)
{
	if (abi == ABI_I386)
		return number == 11 || number == 358;
	return number == 59 || number == 322 || number == (520 | X32_BIT) || number == (545 | X32_BIT);
}

/* The position of an exec's path among the arguments: execveat has a directory before it. */
u32 path_argument(const struct event *event)
{
	if (event->abi == ABI_I386)
		return event->number == 358;
	return event->number == 322 || event->number == (545 | X32_BIT);
}

void fill_arguments(u64 *args, u8 abi, const struct pt_regs *regs)
{
	const u64 wide[6] = { regs->di, regs->si, regs->dx, regs->r10, regs->r8, regs->r9 };
	const u64 narrow[6] = { (u32)regs->bx, (u32)regs->cx, (u32)regs->dx, (u32)regs->si, (u32)regs->di, (u32)regs->bp };

	memcpy(args, abi == ABI_I386 ? narrow : wide, sizeof(wide));
}

static const char * const prefixes[] = {
	"__x64_sys_", "__ia32_sys_", "__ia32_compat_sys_", "__x32_compat_sys_", "__x64_compat_sys_", "__do_sys_",
	"__do_compat_sys_",	/* the same address under another name: calls without arguments */
};

/* Whether a function of a system call begins at the address: nothing else is ever hooked. */
bool is_call_function(unsigned long address)
{
	char name[KSYM_SYMBOL_LEN];
	unsigned int i;

	snprintf(name, sizeof(name), "%pS", (void *)address);
	if (!strstr(name, "+0x0/") || strchr(name, '[') || strstr(name, "ni_syscall"))
		return false;
	for (i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (strstarts(name, prefixes[i]))
			return true;
	return false;
}
