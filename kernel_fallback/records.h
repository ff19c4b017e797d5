/* SPDX-License-Identifier: GPL-2.0-only */
/* Records, and when they are made. See records.c. */
#ifndef ISOTRACE_RECORDS_H
#define ISOTRACE_RECORDS_H

#include "state.h"
#include "watch.h"

void begin_record(struct event *event, const struct who *who, u8 abi, u32 number, u32 slot);
bool send_record(struct session *session, struct cpu_state *cpu);

void on_call_enter(struct session *session, struct pt_regs *regs);
void on_call_exit(struct session *session, struct pt_regs *regs, long result);
void on_exec(struct session *session, pid_t old_pid, const char *file, bool script);
void on_task_exit(struct session *session);
void on_signal(struct session *session, int number, const void *info);

#endif
