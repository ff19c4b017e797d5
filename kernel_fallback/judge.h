/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether a call is refused. See judge.c. */
#ifndef ISOTRACE_JUDGE_H
#define ISOTRACE_JUDGE_H

#include <asm/ptrace.h>

long judge(struct pt_regs *regs);

#endif
