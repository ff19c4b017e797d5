/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs that have the slots of i386's socketcall and ipc: they find the call that it is, put its arguments where those of every call are, and
 * tail-call the program that serves it. Needs demux.h and trace_captures.h.
 */
#ifndef ISOTRACE_TRACE_DEMUX_H
#define ISOTRACE_TRACE_DEMUX_H

/* The slot whose program serves the call; what is no call is a record of the multiplexer's own. */
static __always_inline u32 demultiplex(struct event *event, u64 regs)
{
	u32 slot;

	current_args(event->args, event->abi, regs);
	slot = demultiplexed(event->number, event->args);
	if (!slot)
		return event->number == SOCKETCALL ? SLOT_SOCKETCALL : SLOT_IPC;
	event->slot = slot;
	return slot;
}

int exit_demux(struct call_context *ctx)
{
	struct scratch *scratch = get_scratch(AT_EXIT);

	if (scratch)
		exits.call(ctx, demultiplex(&scratch->event, REGISTERS(ctx)));
	return 0;
}

int enter_demux(struct call_context *ctx)
{
	struct scratch *scratch = get_scratch(AT_ENTER);

	if (scratch)
		enters.call(ctx, demultiplex(&scratch->event, REGISTERS(ctx)));
	return 0;
}

#endif
