/* SPDX-License-Identifier: GPL-2.0-only */
/* By which ABI a call came, and its slot: isotrace.plan.slot_of computes the same. */
#ifndef ISOTRACE_SLOT_H
#define ISOTRACE_SLOT_H

#define TS_COMPAT 0x0002
#define X32_BIT 0x40000000

static __always_inline u8 abi_of(u64 task, s64 number)
{
	if (read_u32(task + OFF_THREAD_INFO + OFF_STATUS) & TS_COMPAT)
		return ABI_I386;
	return number >= 0 && (number & X32_BIT) ? ABI_X32 : ABI_X86_64;
}

static __always_inline u32 slot_of(u8 abi, s64 number)
{
	u32 base = abi == ABI_I386 ? SLOT_I386 : 0;
	u64 index = abi == ABI_X32 ? number & ~(s64)X32_BIT : (u64)number;

	return base + (index < SLOT_UNKNOWN ? (u32)index : SLOT_UNKNOWN);
}

#endif
