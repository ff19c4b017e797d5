/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory that a record shows, copied to where the record is made. See capture.c. */
#ifndef ISOTRACE_CAPTURE_H
#define ISOTRACE_CAPTURE_H

#include <linux/types.h>
#include "event.h"

#define MEMORY 28416		/* bytes of captures that a record can hold, as in bpf/trace_record.h */
#define STRING_MAX 4096

struct scratch {
	struct event event;
	char memory[MEMORY];
	char slack[STRING_MAX];
};

long read_user(void *to, u64 address, u32 size);
void capture_kernel(struct scratch *scratch, const void *data, long size);
void capture_kernel_string(struct scratch *scratch, const char *text);
void capture_memory(struct scratch *scratch, const struct captures *plan);
void capture_vector(struct scratch *scratch, const struct capture *one, bool compat);
void capture_messages(struct scratch *scratch, const struct capture *one, bool compat);
void capture_exec(struct scratch *scratch, u32 limit);
void capture_new_argv(struct scratch *scratch, u64 sp, u32 width, u32 limit);
void capture_mask(struct scratch *scratch, u64 address, u32 width);

#endif
