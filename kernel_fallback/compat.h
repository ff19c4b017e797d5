/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between 5.10 and 7.x: the only file with version checks. */
#ifndef ISOTRACE_COMPAT_H
#define ISOTRACE_COMPAT_H

#include <linux/version.h>

#ifdef __ASSEMBLY__

#include <linux/linkage.h>
#include <asm/frame.h>
#include <asm/nospec-branch.h>
/* 5.18 (156ff4a544ae): the target of an indirect call begins with ENDBR where the CPU checks that. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 18, 0)
#include <asm/ibt.h>
#else
#define ENDBR
#endif
/* 5.17 (f94909ceb1ed), and in stable 5.10 since 5.10.133. */
#ifndef RET
#define RET ret
#endif

#else

#include <linux/ftrace.h>
#include <linux/mm.h>
/* 6.12 (5f60d5f6bbc1): no longer the architecture's. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

/* 5.11 (d19ad0775dcd, a25d036d939a): callbacks get ftrace_regs; recursion is caught for those that ask for it. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 11, 0)
#define FTRACE_CALLBACK(name)	name(unsigned long ip, unsigned long parent, struct ftrace_ops *ops, struct pt_regs *fregs)
#define FTRACE_REGISTERS(fregs)	(fregs)
#define FTRACE_RECURSION	FTRACE_OPS_FL_RECURSION_SAFE
#else
#define FTRACE_CALLBACK(name)	name(unsigned long ip, unsigned long parent, struct ftrace_ops *ops, struct ftrace_regs *fregs)
#define FTRACE_REGISTERS(fregs)	ftrace_get_regs(fregs)
#define FTRACE_RECURSION	FTRACE_OPS_FL_RECURSION
#endif

/* 6.1 (9c5d03d36251): from this command on the kernel checks reserved fields and unused attributes. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 1, 0)
#define RESERVED_START(command)	.resv_start_op = (command),
#else
#define RESERVED_START(command)
#endif

/* 6.3 (bc292ab00f6c): the flags of a mapping are changed by functions. */
static inline void isotrace_forbid(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_clear(vma, flags);
#else
	vma->vm_flags &= ~flags;
#endif
}

#endif
#endif
