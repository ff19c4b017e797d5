/* SPDX-License-Identifier: GPL-2.0-only */
/* Operations of io_uring in the table of calls, with RINGS: see rings.h and trace_rings.h, which makes records of them. Needs counts.c's tables. */
#ifndef ISOTRACE_COUNTS_RINGS_H
#define ISOTRACE_COUNTS_RINGS_H

#if defined(RINGS)

struct ring_start {
	u64 time, ring, user_data;
	u32 pid, slot;
	u32 counted;		/* already: nobody is told of its success */
	u32 pad;
};
BPF_TABLE("lru_hash", u64, struct ring_start, requests, 16384);

static __always_inline int submit(struct ring_request *request)
{
	struct scratch *scratch = get_scratch();
	u32 operation = operation_of(request->opcode);
	struct ring_start start = {};
	struct count *row;
	struct who who;
	u64 named;

	if (!scratch || !submits(&who, request->setup, &named))
		return 0;
	add_alias(request);
	if (!wanted_operation(operation))
		return 0;
	start.time = bpf_ktime_get_ns();
	start.ring = request->ring;
	start.user_data = request->user_data;
	start.pid = who.pid;
	start.slot = SLOT_RING + operation;
	start.counted = !!(request->flags & SQE_SKIP_SUCCESS);
	row = row_of(start.pid, start.slot, scratch);	/* now, while its process is at work: the name of it is noted */
	if (row && start.counted)
		row->calls++;
	requests.update(&request->address, &start);
	return 0;
}

int on_ring_submit(struct ring_context *ctx)
{
	struct ring_request request;

	find_request(&request, TRACED(u64, ctx, SUBMITTED_REQUEST));
	return submit(&request);
}

#if defined(FAILED_REQUEST)
int on_ring_failed(struct ring_context *ctx)
{
	struct ring_request request;

	find_failed(&request, ctx);
	return submit(&request);
}
#endif

static __always_inline struct ring_start *started_as(u64 request, struct ring_completion *done)
{
	struct ring_start *found = request ? requests.lookup(&request) : NULL;

	if (found && (found->ring != done->ring || found->user_data != done->user_data))
		found = NULL;
	asm volatile("" : "+r"(found));
	return found;
}

/* `began` is 0 where that is not known. */
static __always_inline void add_completed(struct ring_completion *done, u32 pid, u32 slot, u64 began, u32 counted)
{
	struct done end = {.result = done->result, .pid = pid, .slot = slot};
	struct count_key key = {.pid = pid, .slot = slot};
	struct scratch *scratch = get_scratch();
	struct call *known = calls.lookup(&slot), none = {};
	struct count *row;

	if (!scratch || (counted && !failed(&end)))
		return;
	row = counts.lookup(&key);
	if (!row) {
		counts.insert(&key, &scratch->blank);	/* the first of them on this CPU */
		row = counts.lookup(&key);
	}
	if (!row) {
		tell(STAT_CALLS_LOST);
		return;
	}
	row->calls += !counted;
	if (began)
		add_time(row, bpf_ktime_get_ns() - began);
	if (failed(&end)) {
		row->errors++;
		__builtin_memset(scratch->args, 0, sizeof(scratch->args));
		add_error(&end, &none, scratch);	/* what it was given is not known here */
	} else if (known && known->bytes && end.result > 0) {
		row->bytes += end.result;
	}
}

static __always_inline void complete_unbegun(struct ring_completion *done)
{
	u64 named = asker_of(done->request);
	struct scratch *scratch = get_scratch();
	struct ring_request request;
	struct who who;
	u32 operation;

	if (!scratch || !named || !is_watched_as(&who, named))
		return;
	find_request(&request, done->request);
	operation = operation_of(request.opcode);
	if (wanted_operation(operation) && row_of(who.pid, SLOT_RING + operation, scratch))
		add_completed(done, who.pid, SLOT_RING + operation, 0, 0);
}

static __always_inline void complete_request(struct ring_completion *done, int full)
{
	struct ring_start *found = started_as(done->request, done);
	struct ring_alias *alias = NULL;
	u64 request = done->request;

	if (!found && (!request || done->flags & CQE_NOTIFICATION))
		alias = find_alias(done);
	if (alias) {
		request = alias->request;
		found = started_as(request ? request : alias->latest, done);
	}
	if (found && request)
		add_completed(done, found->pid, found->slot, found->time, found->counted);
	else if (found && !full && wanted_operation(RING_OPERATIONS))
		add_completed(done, found->pid, SLOT_RING + RING_OPERATIONS, 0, 0);
	else if (done->request && !(done->flags & CQE_NOTIFICATION))
		complete_unbegun(done);
	if (done->flags & CQE_MORE)
		return;
	if (request)
		requests.delete(&request);
	drop_alias(done);
}

#endif
#endif
