/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a patched entry of sys_call_table calls: long table_entry(const struct pt_regs *regs). It asks, and returns an error or
 * jumps on to the kernel's own function, so that no return address into the module is left on the stack of a call that sleeps.
 */
#include "compat.h"

SYM_FUNC_START(table_entry)
	ENDBR
	FRAME_BEGIN
	pushq	%rdi
	call	table_judge
	popq	%rdi
	FRAME_END
	cmpq	$-4096, %rax
	ja	.Lrefused
	JMP_NOSPEC rax
.Lrefused:
	RET
SYM_FUNC_END(table_entry)

	.section .note.GNU-stack, "", @progbits
