/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls refused by way of sys_call_table, and the choice between that and ftrace. See table.c and entry.S. */
#ifndef ISOTRACE_TABLE_H
#define ISOTRACE_TABLE_H

#include "state.h"

extern enum isotrace_mode refuse_mode;
int mode_choose(void);
const char *table_evidence(void);
int table_attach(struct session *session);
void table_detach(void);
unsigned long table_judge(struct pt_regs *regs);
long table_entry(const struct pt_regs *regs);

#endif
