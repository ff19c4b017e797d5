/* SPDX-License-Identifier: GPL-2.0-only */
/* Which system call the current task is in, and which functions of the kernel are calls'. See call.c. */
#ifndef ISOTRACE_CALL_H
#define ISOTRACE_CALL_H

#include <linux/types.h>
#include <asm/ptrace.h>
#include "event.h"

#define X32_BIT 0x40000000

u32 call_number(struct pt_regs *regs, u8 *abi);
u32 slot_of(u8 abi, u32 number);
bool is_exec(u8 abi, u32 number);
u32 path_argument(const struct event *event);
void fill_arguments(u64 *args, u8 abi, const struct pt_regs *regs);
bool is_call_function(unsigned long address);

#endif
