/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The user stack of a call, with STACKS: the registers that unwinding begins with, and the memory from the stack pointer up, as the last captures of the
 * record. User space unwinds (isotrace/stacks/unwind.py): most code has tables for it and no frame pointers. Needs trace_captures.h.
 *
 * Constants: OFF_MM, OFF_START_STACK.
 */
#ifndef ISOTRACE_TRACE_STACKS_H
#define ISOTRACE_TRACE_STACKS_H

#if defined(STACKS)

#define STACK_PIECES 6		/* pages, the first from where the stack pointer is; the last only where the record has room */

/* The caller's registers; returns its stack pointer, or 0 where the record has no room for it. */
static __always_inline u64 capture_registers(struct scratch *scratch, u64 regs_address)
{
	struct blob *blob = new_blob(scratch, BLOB_STACK, PART_REGISTERS, 0);
	struct registers *regs;

	if (!blob)
		return 0;
	regs = (void *)(blob + 1);
	read_kernel(regs, sizeof(*regs), (void *)regs_address);
	close_blob(&scratch->event, blob, sizeof(*regs));
	return regs->sp;
}

/* A piece of the stack at `at`; returns its bytes, 0 where there is no more. */
static __always_inline u64 capture_piece(struct scratch *scratch, u64 at, u64 top)
{
	struct blob *blob = new_blob(scratch, BLOB_STACK, PART_STACK_MEMORY, at);
	u64 size = PAGE - (at & (PAGE - 1));

	if (!blob)
		return 0;
	if (at < top && size > top - at)
		size = top - at;
	asm volatile("" : "+r"(size));
	size &= 0x1fff;
	if (size > PAGE || read_user(blob + 1, size, (void *)at))
		return 0;
	close_blob(&scratch->event, blob, size);
	return size;
}

#endif

/* The first thread's frames end where the program's arguments begin. */
static __always_inline void capture_stack(struct scratch *scratch, u64 regs_address)
{
#if defined(STACKS)
	u64 top = read_u64(read_u64(bpf_get_current_task() + OFF_MM) + OFF_START_STACK);
	u64 at = capture_registers(scratch, regs_address);

	_Pragma("nounroll")
	for (u32 i = 0; at && i < STACK_PIECES; i++) {
		u64 size = capture_piece(scratch, at, top);

		at += size;
		if (!size || at == top)
			break;
	}
#endif
}

#endif
