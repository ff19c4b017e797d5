/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Operations of io_uring as records, with RINGS: io_uring_submit_req, by whoever asks, keeps what is asked; io_uring_complete, wherever it comes to pass, sends
 * it with the result. Needs trace_captures.h and rings.h.
 *
 * Arguments are read from the kernel's own request where BTF tells where they are, and paths from its own copies. What is only in the submission queue's entry,
 * or where an argument points to, may have been changed since the kernel read it: that is marked as read later.
 */
#ifndef ISOTRACE_TRACE_RINGS_H
#define ISOTRACE_TRACE_RINGS_H

#if defined(RINGS)

/* What is kept of a request until it completes: the beginning of a scratch. In its event, `duration` is the ring, `time` when it was submitted. */
#if defined(CONTAINERS)
#define RING_WHERE (sizeof(struct blob) + sizeof(struct whereabouts))
#else
#define RING_WHERE 0
#endif
#define RING_ROOM 1928		/* bytes of captures; tests/test_rings_plan.py sees that no operation needs more */
#define RING_BYTES (RING_ROOM + RING_WHERE)
struct ring_begun {
	struct event event;
	char bytes[RING_BYTES];
};
BPF_TABLE("lru_hash", u64, struct ring_begun, begun, 4096);

#define NOTE_OF(record) ((struct ring_note *)((char *)(record) + sizeof(struct event) + sizeof(struct blob)))

/* The submission queue's entry that the request was made of, if that can be found: it is the latest that was taken. */
static __always_inline u64 entry_of(struct ring_request *request)
{
	u64 entries = read_u64(request->ring + OFF_RING_ENTRIES);
	u32 count = read_u32(request->ring + OFF_RING_COUNT), index = read_u32(request->ring + OFF_RING_HEAD) - 1;
	u64 entry;

	index &= count - 1;
	if (!(request->setup & SETUP_NO_SQARRAY))
		index = read_u32(read_u64(request->ring + OFF_RING_ARRAY) + index * sizeof(u32));
	if (index >= count)
		return 0;
	entry = entries + ((u64)index << (request->setup & SETUP_SQE128 ? 7 : 6));
	if ((u8)read_u32(entry) != request->opcode || read_u64(entry + 32) != request->user_data)
		return 0;
	return entry;
}

/* The flags that the caller gave: that a worker is to do it, the kernel decides as well. */
static __always_inline u8 asked_flags(u8 flags, u64 entry)
{
	if (entry && read_u32(entry) >> 8 & SQE_ASYNC)
		return flags;
	return flags & ~SQE_ASYNC;
}

/* The values of its arguments. A request that could not be made (`request` is 0) may have those of another. */
static __always_inline void take_fields(struct scratch *scratch, struct ring_operation *operation, u64 request, u64 entry)
{
	struct ring_note *note = NOTE_OF(&scratch->event);

	_Pragma("unroll")
	for (u32 i = 0; i < 6; i++) {
		struct ring_field *field = &operation->fields[i];
		u64 value = 0;

		if (request && field->request_mask) {
			value = read_u64(request + field->request_at) & field->request_mask;
		} else if (entry && field->entry_mask) {
			value = read_u64(entry + field->entry_at) & field->entry_mask;
			note->later |= 1 << i;
		} else {
			note->unknown |= 1 << i;
		}
		scratch->event.args[i] = value;
	}
}

/* A path, of the kernel's own copy; returns whether there is one. */
static __always_inline int capture_own(struct scratch *scratch, struct ring_field *field, struct capture *one, u64 request)
{
	struct blob *blob = new_blob(scratch, one->arg, PART_SELF, 0);
	u32 limit = one->limit;
	u64 from;
	long got;

	if (!blob || !field->has_name || !request)
		return 0;
	from = read_u64(read_u64(request + field->name_at));
	asm volatile("" : "+r"(limit));
	limit &= 0x3ff;
	got = read_kernel_string(blob + 1, limit + 1, (void *)from);
	if (!from || got < 0)
		return 0;
	if (got == 0) {		/* up to 6.12, of an empty string */
		*(char *)(blob + 1) = 0;
		got = 1;
	}
	if (got == limit + 1) {
		char last = 0;

		read_kernel(&last, 1, (void *)(from + limit));
		if (last)
			blob->state = BLOB_CUT;
	}
	close_blob(&scratch->event, blob, got);
	return 1;
}

static __always_inline void capture_argument(struct scratch *scratch, struct ring_field *field, struct capture *one, u64 request)
{
	struct ring_note *note = NOTE_OF(&scratch->event);
	u64 address = scratch->event.args[one->arg & 7];
	u8 mark = 1 << (one->arg & 7);

	if (!address)
		return;
	if (capture_own(scratch, field, one, request)) {
		note->later &= ~mark;
		return;
	}
	note->later |= mark;
	if (one->op == OP_STRING)
		capture_string(scratch, one->arg, address, one->limit);
	else
		capture_readable(scratch, one->arg, PART_SELF, address, length_of(&scratch->event, one->length) * one->unit, one->limit);
}

/* What its arguments point to. */
static __always_inline void take_memory(struct scratch *scratch, struct ring_operation *operation, u64 request)
{
	u32 slot = scratch->event.slot;
	struct captures *plan = captures.lookup(&slot);

	if (!plan)
		return;
	_Pragma("nounroll")
	for (u32 i = 0; i < CAPTURES; i++) {
		struct capture *one = &plan->list[i];

		if (one->op == OP_NONE)
			break;
		capture_argument(scratch, &operation->fields[one->arg & (RING_FIELDS - 1)], one, request);
	}
	scratch->event.unread = 0;	/* another look would find what is there now */
}

static __always_inline void begin_operation(struct event *event, struct who *who, u8 opcode, u64 named)
{
	begin(event, who, abi_of(who->task, 0), IO_URING_ENTER, SLOT_RING + operation_of(opcode));
	event->later = 0;
	event->result = 0;
	event->time = bpf_ktime_get_ns();
	if (named) {
		event->tid = PID_OF(named);
		__builtin_memset(event->comm, 0, sizeof(event->comm));
		read_kernel_string(event->comm, sizeof(event->comm), (void *)(named + OFF_COMM));
	}
}

static __always_inline struct ring_note *add_note(struct scratch *scratch)
{
	struct blob *blob = new_blob(scratch, BLOB_RING, PART_RING, sizeof(struct ring_note));
	struct ring_note *note;

	if (!blob)
		return NULL;
	note = (void *)(blob + 1);
	__builtin_memset(note, 0, sizeof(*note));
	close_blob(&scratch->event, blob, sizeof(*note));
	return note;
}

/* The ring is told nothing of its success, so nobody is: it is shown now. A failure has a record of its own. */
static __always_inline void send_untold(struct scratch *scratch, struct ring_note *note, u64 ring)
{
	note->state |= RING_UNTOLD;
	scratch->event.duration = 0;
	count(&scratch->event, send(scratch));
	note->state &= ~RING_UNTOLD;
	scratch->event.duration = ring;
}

static __always_inline int submit(struct ring_request *request, u64 entry, int made)
{
	struct scratch *scratch = get_scratch(AT_RING);
	struct ring_operation *operation;
	struct ring_note *note;
	struct who who;
	u64 named, address = request->address;

	if (!scratch || !submits(&who, request->setup, &named))
		return 0;
	operation = wanted_operation(operation_of(request->opcode));
	add_alias(request);
	if (!operation)
		return 0;
	begin_operation(&scratch->event, &who, request->opcode, named);
	note = add_note(scratch);
	if (!note)
		return 0;
	if (!entry)
		entry = entry_of(request);
	note->user_data = request->user_data;
	note->flags = asked_flags(request->flags, entry);
	note->opcode = request->opcode;
	note->state = named ? RING_POLLED : 0;
	take_fields(scratch, operation, made ? address : 0, entry);
	take_memory(scratch, operation, made ? address : 0);
	add_whereabouts(scratch, named ? named : who.task);
	scratch->event.duration = request->ring;
	if (scratch->event.size > sizeof(struct ring_begun))
		return 0;
	if (request->flags & SQE_SKIP_SUCCESS)
		send_untold(scratch, note, request->ring);
	begun.update(&address, (struct ring_begun *)scratch);
	return 0;
}

int on_ring_submit(struct ring_context *ctx)
{
	struct ring_request request;
	int made = 1;

	find_request(&request, TRACED(u64, ctx, SUBMITTED_REQUEST));
#if defined(UNMADE_FLAG)
	made = !(read_u32(request.address + OFF_REQUEST_FLAGS) & UNMADE_FLAG);	/* its members may be another's: those of a chain come here all the same */
#endif
	return submit(&request, 0, made);
}

#if defined(FAILED_REQUEST)
/* What was asked cannot be done as it stands: there is no submission, but there will be a completion. */
int on_ring_failed(struct ring_context *ctx)
{
	struct ring_request request;
	u64 entry = find_failed(&request, ctx);

	return submit(&request, entry, 0);
}
#endif

static __always_inline struct ring_begun *begun_as(u64 request, struct ring_completion *done)
{
	struct ring_begun *found = request ? begun.lookup(&request) : NULL;

	if (!found || found->event.duration != done->ring || NOTE_OF(&found->event)->user_data != done->user_data)
		found = NULL;	/* its memory is another request's by now */
	asm volatile("" : "+r"(found));	/* the compiler would ask the same again, and the verifier not know that */
	return found;
}

/* Sends it with the result; `began` is when it was submitted, or 0. */
static __always_inline void send_completed(struct scratch *scratch, struct ring_completion *done, u64 began)
{
	struct event *event = &scratch->event;

	event->time = bpf_ktime_get_ns();
	event->duration = 0;
#if defined(MEASURE_TIME)
	if (began)
		event->duration = event->time - began;
#endif
	event->result = done->result;
	NOTE_OF(event)->completion = done->flags;
	count(event, send(scratch));
}

static __always_inline int recall_begun(struct scratch *scratch, struct ring_begun *found)
{
	u32 size = found->event.size - sizeof(struct event);

	asm volatile("" : "+r"(size));
	size &= 2047;
	if (size > RING_BYTES)
		return 0;
	read_kernel(&scratch->event, sizeof(struct event), &found->event);
	read_kernel(scratch->memory, size, found->bytes);
	return 1;
}

/* Behind the note comes where the one was that asked. */
static __always_inline void keep_whereabouts(struct scratch *scratch, struct ring_begun *latest)
{
#if defined(CONTAINERS)
	u32 at = latest->event.size - sizeof(struct event) - RING_WHERE;

	asm volatile("" : "+r"(at));
	at &= 2047;
	if (at > RING_ROOM)
		return;
	read_kernel(scratch->memory + sizeof(struct blob) + sizeof(struct ring_note), RING_WHERE, latest->bytes + at);
	scratch->event.size += RING_WHERE;
	scratch->event.blobs++;
#endif
}

/* One of several of the same name, and the kernel does not say which: it is one of that process's, and that is all there is to say. */
static __always_inline void send_one_of(struct scratch *scratch, struct ring_begun *latest, struct ring_completion *done)
{
	if (!wanted_operation(RING_OPERATIONS))
		return;
	read_kernel(&scratch->event, sizeof(struct event), &latest->event);
	read_kernel(scratch->memory, sizeof(struct blob) + sizeof(struct ring_note), latest->bytes);
	scratch->event.size = sizeof(struct event) + sizeof(struct blob) + sizeof(struct ring_note);
	scratch->event.blobs = 1;
	keep_whereabouts(scratch, latest);
	scratch->event.slot = SLOT_RING + RING_OPERATIONS;
	__builtin_memset(scratch->event.args, 0, sizeof(scratch->event.args));
	NOTE_OF(&scratch->event)->flags = 0;
	NOTE_OF(&scratch->event)->later = 0;
	NOTE_OF(&scratch->event)->opcode = 0xff;
	send_completed(scratch, done, 0);
}

/* Of a request from before the programs were attached, say, nothing is known but what the kernel's own has. */
static __always_inline void send_unbegun(struct scratch *scratch, struct ring_completion *done)
{
	struct ring_request request;
	struct ring_note *note;
	struct who who;
	u64 named = asker_of(done->request);

	if (!named || !is_watched_as(&who, named))
		return;
	find_request(&request, done->request);
	if (!wanted_operation(operation_of(request.opcode)))
		return;
	begin_operation(&scratch->event, &who, request.opcode, request.setup & SETUP_SQPOLL ? leader_of(CURRENT()) : named);
	note = add_note(scratch);
	if (!note)
		return;
	note->user_data = request.user_data;
	note->flags = asked_flags(request.flags, 0);
	note->opcode = request.opcode;
	note->state = request.setup & SETUP_SQPOLL ? RING_POLLED : 0;
	note->unknown = 0x3f;
	__builtin_memset(scratch->event.args, 0, sizeof(scratch->event.args));
	add_whereabouts(scratch, named);
	send_completed(scratch, done, 0);
}

static __always_inline void end_request(u64 request, struct ring_completion *done)
{
	if (done->flags & CQE_MORE)
		return;
	if (request)
		begun.delete(&request);
	drop_alias(done);
}

/* `full`: there was no room in the completion queue. Some kernels have said before that it is complete, others have not. */
static __always_inline void complete_request(struct ring_completion *done, int full)
{
	struct scratch *scratch = get_scratch(AT_RING_DONE);
	struct ring_begun *found = begun_as(done->request, done);
	struct ring_alias *alias = NULL;
	u64 request = done->request;

	if (!scratch)
		return;
	if (!found && (!request || done->flags & CQE_NOTIFICATION))
		alias = find_alias(done);
	if (alias) {
		request = alias->request;
		found = begun_as(request ? request : alias->latest, done);
	}
	if (found && request) {
		if (recall_begun(scratch, found))
			send_completed(scratch, done, scratch->event.time);
	} else if (found && !full) {
		send_one_of(scratch, found, done);
	} else if (done->request && !(done->flags & CQE_NOTIFICATION)) {
		send_unbegun(scratch, done);
	}
	end_request(request, done);
}

#endif
#endif
