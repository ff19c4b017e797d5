/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Operations of io_uring, by its own tracepoints: which request of which ring it is, and who asked for it. Needs event.h, filter.h and calls.h.
 *
 * Constants of isotrace/kernel/rings.py: of the tracepoints' arguments the number, or with PERF_TRACEPOINTS the offset in the trace event:
 * SUBMITTED_REQUEST; FAILED_ENTRY, _OPCODE, _REQUEST; COMPLETED_RING, _REQUEST, _USER_DATA, _RESULT, _FLAGS or _ENTRY; OVERFLOWN_RING, _USER_DATA, _RESULT,
 * _FLAGS. Those that a kernel lacks are not defined. And OFF_REQUEST_…, OFF_RING_…; RINGS_KNOWN, the number of operations in the catalogue; where there is no
 * FAILED_REQUEST, UNMADE_FLAG of a request's flags: it could not be made.
 */
#ifndef ISOTRACE_RINGS_H
#define ISOTRACE_RINGS_H

#if defined(RINGS)

#define IO_URING_ENTER 426	/* on every ABI */
#define SETUP_SQPOLL (1U << 1)
#define SETUP_SQE128 (1U << 10)
#define SETUP_NO_SQARRAY (1U << 16)
#define CQE_MORE 2		/* IORING_CQE_F_MORE: the request has not ended by this */
#define CQE_NOTIFICATION 8	/* IORING_CQE_F_NOTIF: from another request inside the kernel, that stands for it */
#define SQE_ASYNC 16		/* IOSQE_ASYNC */
#define SQE_SKIP_SUCCESS 64	/* IOSQE_CQE_SKIP_SUCCESS */

#if defined(PERF_TRACEPOINTS)
struct ring_context { u64 common; };
#define TRACED(type, ctx, where) (*(type *)((char *)(ctx) + (where)))
#else
#define ring_context bpf_raw_tracepoint_args
#define TRACED(type, ctx, where) ((type)(ctx)->args[where])
#endif

/* A request, as the kernel has it. */
struct ring_request {
	u64 address, ring, user_data;
	u32 setup;		/* bits of IORING_SETUP_ */
	u8 opcode, flags;
};

/* A completion that has come. `request` is 0 where the kernel does not say whose it is. */
struct ring_completion {
	u64 request, ring, user_data;
	s32 result;
	u32 flags;
};

/*
 * Requests that have been submitted and not completed, by what a completion has that does not name its request. More than one may have the same user_data:
 * `count` of them; then it is not known which has completed, until all have.
 */
struct ring_key {
	u64 ring, user_data;
};
struct ring_alias {
	u64 request;		/* 0: there were several at a time */
	u64 latest;		/* of them, whom it came from */
	u64 count;
};
BPF_TABLE("lru_hash", struct ring_key, struct ring_alias, aliases, 16384);
BPF_ARRAY(operations, struct ring_operation, RING_OPERATIONS + 1);

static __always_inline void find_request(struct ring_request *found, u64 address)
{
	found->address = address;
	found->ring = read_u64(address + OFF_REQUEST_RING);
	found->user_data = read_u64(address + OFF_REQUEST_USER_DATA);
	found->opcode = read_u32(address + OFF_REQUEST_OPCODE);
	found->flags = read_u32(address + OFF_REQUEST_FLAGS);	/* the caller's are the first byte */
	found->setup = read_u32(found->ring + OFF_RING_SETUP);
}

#if defined(FAILED_REQUEST)
/* A request that could not be made. Where there is no such operation it has none; the submission queue's entry, which is returned where it is said, has. */
static __always_inline u64 find_failed(struct ring_request *found, struct ring_context *ctx)
{
	u64 entry = 0;

	find_request(found, TRACED(u64, ctx, FAILED_REQUEST));
#if defined(FAILED_ENTRY)
	entry = TRACED(u64, ctx, FAILED_ENTRY);
	if (!found->opcode)
		found->opcode = read_u32(entry);
#elif defined(FAILED_OPCODE)
	if (!found->opcode)
		found->opcode = TRACED(u8, ctx, FAILED_OPCODE);
#endif
	return entry;
}
#endif

static __always_inline u32 operation_of(u8 opcode)
{
	return opcode < RINGS_KNOWN ? opcode : RING_OPERATIONS;
}

/* Whether operations of this kind are asked for. */
static __always_inline struct ring_operation *wanted_operation(u32 operation)
{
	struct ring_operation *found = operations.lookup(&operation);

	return found && found->wanted ? found : NULL;
}

static __always_inline u64 leader_of(u64 task)
{
	return read_u64(task + OFF_GROUP_LEADER);
}

/*
 * Whether who submits is watched. The thread of a ring that is polled is one of the process's own, but has a name of its own: the leader's counts. `named` is
 * whose name that is then, else 0.
 */
static __always_inline int submits(struct who *who, u32 setup, u64 *named)
{
	*named = setup & SETUP_SQPOLL ? leader_of(CURRENT()) : 0;
	return is_watched_as(who, *named);
}

/* Keeps the request for completions that do not name it. */
static __always_inline void add_alias(struct ring_request *request)
{
	struct ring_key key = {.ring = request->ring, .user_data = request->user_data};
	struct ring_alias *found = aliases.lookup(&key), fresh = {.request = request->address, .latest = request->address, .count = 1};

	if (!found) {
		aliases.update(&key, &fresh);
		return;
	}
	if (found->latest == request->address)	/* it has ended without a word, and its memory is used again */
		return;
	found->request = 0;
	found->latest = request->address;
	add_at_once(&found->count, 1);
}

/* A request has ended that had this alias. */
static __always_inline void drop_alias(struct ring_completion *done)
{
	struct ring_key key = {.ring = done->ring, .user_data = done->user_data};
	struct ring_alias *found = aliases.lookup(&key);

	if (!found)
		return;
	if (found->count <= 1)
		aliases.delete(&key);
	else
		add_at_once(&found->count, -1);
}

static __always_inline struct ring_alias *find_alias(struct ring_completion *done)
{
	struct ring_key key = {.ring = done->ring, .user_data = done->user_data};

	return aliases.lookup(&key);
}

/* What io_uring_complete says. The entry of the completion queue is in memory that the process shares; the request is the kernel's own. */
static __always_inline void read_completion(struct ring_completion *done, struct ring_context *ctx)
{
	done->ring = TRACED(u64, ctx, COMPLETED_RING);
#if defined(COMPLETED_REQUEST)
	done->request = TRACED(u64, ctx, COMPLETED_REQUEST);
#else
	done->request = 0;
#endif
#if defined(COMPLETED_ENTRY)
	u64 entry = TRACED(u64, ctx, COMPLETED_ENTRY), both = read_u64(entry + sizeof(u64));

	done->user_data = read_u64(entry);
	done->result = (s32)both;
	done->flags = both >> 32;
#else
	done->user_data = TRACED(u64, ctx, COMPLETED_USER_DATA);
	done->result = TRACED(s32, ctx, COMPLETED_RESULT);
	done->flags = 0;
#if defined(COMPLETED_FLAGS)
	done->flags = TRACED(u32, ctx, COMPLETED_FLAGS);
#endif
#endif
#if defined(OFF_REQUEST_RESULT)
	if (done->request) {
		u64 own = read_u64(done->request + OFF_REQUEST_RESULT);

		done->user_data = read_u64(done->request + OFF_REQUEST_USER_DATA);
		done->result = (s32)own;
		done->flags = own >> 32;
	}
#endif
}

#if defined(OVERFLOWN_RING)
static __always_inline void read_overflow(struct ring_completion *done, struct ring_context *ctx)
{
	done->ring = TRACED(u64, ctx, OVERFLOWN_RING);
	done->request = 0;
	done->user_data = TRACED(u64, ctx, OVERFLOWN_USER_DATA);
	done->result = TRACED(s32, ctx, OVERFLOWN_RESULT);
	done->flags = TRACED(u32, ctx, OVERFLOWN_FLAGS);
}
#endif

/* The task that asked for a request, where it is of the current process: a worker of io_uring's is a thread of it. Else 0. */
static __always_inline u64 asker_of(u64 request)
{
#if defined(OFF_REQUEST_CONTEXT)
	u64 task = read_u64(read_u64(request + OFF_REQUEST_CONTEXT) + OFF_CONTEXT_TASK);
#else
	u64 task = read_u64(request + OFF_REQUEST_TASK);
#endif

	return task && read_u32(task + OFF_TGID) == bpf_get_current_pid_tgid() >> 32 ? task : 0;
}

/*
 * What a completion comes to, whoever's it is: in trace_rings.h and in counts_rings.h. `full`: the completion queue is; it will be told later, without
 * another word here.
 */
static __always_inline void complete_request(struct ring_completion *done, int full);

int on_ring_complete(struct ring_context *ctx)
{
	struct ring_completion done;

	read_completion(&done, ctx);
	complete_request(&done, 0);
	return 0;
}

#if defined(OVERFLOWN_RING)
int on_ring_overflow(struct ring_context *ctx)
{
	struct ring_completion done;

	read_overflow(&done, ctx);
	complete_request(&done, 1);
	return 0;
}
#endif

#endif
#endif
