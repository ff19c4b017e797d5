/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One record: where it is made, how it is sent, and the counts of those that were and were not. Needs event.h, filter.h, calls.h and demux.h.
 *
 * Constants: RING_PAGES; WATERMARK (bytes); MEASURE_TIME; LOSSLESS (bytes); DESCRIPTORS; UNABBREVIATED; PIDS; STACKS; CONTAINERS.
 */
#ifndef ISOTRACE_TRACE_RECORD_H
#define ISOTRACE_TRACE_RECORD_H

#define MEMORY 28416		/* bytes of captures that a record can hold */
#define STRING_MAX 4096
#define PAGE 4096
#define MESSAGES 4
#if defined(UNABBREVIATED)
#define ARGUMENTS 120		/* and as many variables: a record counts 255 captures */
#define IOVECS 32
#else
#define ARGUMENTS 32
#define IOVECS 8
#endif
#define VARIABLES 256
#define SIGINFO 48		/* bytes of struct kernel_siginfo: all of its fields, none of its padding */
#define UCONTEXT_AX 144
#define UCONTEXT_MASK 296
#define RT_FRAME32_AX 204	/* from sp at i386's rt_sigreturn: 4 below it struct rt_sigframe_ia32 begins */
#define RT_FRAME32_MASK 248
#define FRAME32_AX 44		/* from sp at i386's sigreturn, where its struct sigcontext_32 lies */
#define FRAME32_MASK 80
#define ENOSYS 38

BPF_RINGBUF_OUTPUT(events, RING_PAGES);
BPF_PROG_ARRAY(exits, SLOTS);
BPF_PROG_ARRAY(enters, SLOTS);
BPF_PERCPU_ARRAY(seen, u64, SLOTS);
BPF_PERCPU_ARRAY(lost, u64, SLOTS);
BPF_PERCPU_ARRAY(stats, u64, STATS);
struct loss_key { u32 pid, slot; };
struct loss { u64 count; char comm[16]; };
BPF_HASH(losses, struct loss_key, struct loss, 8192);	/* _LOSSES in isotrace/backends/tracepoint.py */
BPF_ARRAY(losing, u64, 1);	/* all of them: user space looks at the others only when this has changed */
BPF_ARRAY(captures, struct captures, SLOTS);
BPF_ARRAY(befores, struct captures, SLOTS);	/* what to copy at enter */
#if defined(LOSSLESS)
/* Bytes that were sent; bytes that the reader has taken, which it writes there (BCC has no bpf_ringbuf_query). */
enum { FLOW_SENT = 0, FLOW_TAKEN = 1 };
BPF_F_TABLE("array", u32, u64, flow, 2, BPF_F_MMAPABLE);
#endif
#if defined(MEASURE_TIME)
/* When the call began that a task is in, by the task's address: the number of a thread that executes changes. */
struct beginning { u64 time; u32 slot, pid, tid, pad; };	/* BEGINNING in isotrace/backends/tracepoint.py */
BPF_HASH(started, u64, struct beginning, 131072);
BPF_ARRAY(asked, u8, SLOTS);	/* 1: calls of this slot are recorded, so they are timed */
#endif

struct user_iovec { u64 base, size; };
struct user_msghdr { u64 name; u32 name_size, pad; u64 iov, iov_count, control, control_size; u32 flags, pad2; };
struct compat_iovec { u32 base, size; };
struct compat_msghdr { u32 name, name_size, iov, iov_count, control, control_size, flags; };

/* One record under construction. The slack at the end lets a bounded copy start anywhere below MEMORY. */
struct scratch {
	struct event event;
	char memory[MEMORY];
	char slack[STRING_MAX - sizeof(struct event) - sizeof(u64)];
	u64 stamp;		/* of the execve that the record is of: see trace_exec.h */
	u32 sent;		/* bytes since the reader was last woken */
	/* What loops work on. On the stack the verifier would follow every value that it can have, through every turn. */
	struct user_iovec iov;
	struct compat_iovec iov32;
	struct user_msghdr msg;
	struct compat_msghdr msg32;
	u64 total, iov_at, iov_count, msg_at, msg_count;
	u32 most;		/* bytes of a buffer, where that is more than the row's limit */
};
/* What a call that has not returned was given: the beginning of a scratch, by the task's address. */
#if defined(RESOLVE) && defined(PLACES)
#define BEFORE 8192
#elif defined(RESOLVE) || defined(PLACES)
#define BEFORE 4096		/* as many again: where paths begin, or where files are in their file systems */
#elif defined(DESCRIPTORS)
#define BEFORE 2048
#else
#define BEFORE 512		/* bytes of captures; tests/test_plan.py sees that no call needs more */
#endif
struct before {
	struct event event;
	char bytes[BEFORE];
};
BPF_HASH(given, u64, struct before, 16384);
#if defined(CHANGES)
BPF_PIDS(noted);	/* of threads: 1: the two maps may have something of it */
#endif

/*
 * Each attached program has a record of its own, shared with those that it tail-calls: where tracepoints can be preempted, another program may run
 * on this CPU meanwhile, but never the same one.
 */
enum owner {
	AT_EXIT, AT_ENTER, AT_TASK_EXEC, AT_TASK_EXIT, AT_SIGNAL,
#if defined(RINGS)
	AT_RING, AT_RING_DONE,
#endif
	OWNERS
};
BPF_PERCPU_ARRAY(scratches, struct scratch, OWNERS);

static __always_inline struct scratch *get_scratch(u32 owner)
{
	return scratches.lookup(&owner);
}

/* The ring was full: whose call it was that has no record, for as many processes and calls as there is room. */
static __always_inline void count_loss(struct event *event)
{
	struct loss_key key = { event->pid, event->slot };
	struct loss fresh = {}, *loss;
	u32 slot = event->slot, zero = 0;
	u64 *value = lost.lookup(&slot);

	if (value)
		(*value)++;
	loss = losses.lookup(&key);
	if (!loss) {
		__builtin_memcpy(fresh.comm, event->comm, sizeof(fresh.comm));
		losses.insert(&key, &fresh);
		loss = losses.lookup(&key);
	}
	if (loss)
		add_at_once(&loss->count, 1);
	value = losing.lookup(&zero);	/* last: who sees it change finds the others changed */
	if (value)
		add_at_once(value, 1);
}

static __always_inline void count(struct event *event, int delivered)
{
	u32 slot = event->slot;
	u64 *value = seen.lookup(&slot);

	if (value)
		(*value)++;
	if (!delivered)
		count_loss(event);
}

/* What identifies the task and the call; the tail-called program adds the rest. */
static __always_inline void begin(struct event *event, struct who *who, u8 abi, s32 number, u32 slot)
{
	event->pid = who->pid;
	event->tid = OWN_PID();
	event->ppid = who->ppid;
	event->uid = real_uid(who->task);
	event->number = number;
	event->slot = slot;
	event->kind = KIND_CALL;
	event->blobs = 0;
	event->unread = 0;
	event->duration = 0;
	event->abi = abi;
	event->size = sizeof(*event);
#if defined(PIDS)
	event->pad = 1 + read_u32(read_u64(who->task + OFF_THREAD_PID) + OFF_PID_LEVEL) - PID_LEVEL;
#endif
	__builtin_memset(event->comm, 0, sizeof(event->comm));	/* some kernels fill nothing behind the name (seen on 6.1) */
	bpf_get_current_comm(event->comm, sizeof(event->comm));
}

static __always_inline int failed(struct event *event)
{
	return event->result < 0 && event->result >= -4095;
}

#define EFAULT 14

/* What a call that failed was given and could not be read here, the reader reads at once from the process's own memory, unless the kernel could not. */
static __always_inline int is_urgent(struct event *event)
{
	return event->unread && event->kind == KIND_CALL && failed(event) && event->result != -EFAULT;
}

/* The reader looks at the ring some times a second; it is woken only for every WATERMARK bytes that this CPU has sent, and for what is urgent. */
static __always_inline u64 wakeup(struct scratch *scratch, u32 size)
{
	scratch->sent += size;
	if (scratch->sent < WATERMARK && !is_urgent(&scratch->event))
		return BPF_RB_NO_WAKEUP;
	scratch->sent = 0;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline void note_sent(u32 bytes)
{
#if defined(LOSSLESS)
	u32 sent = FLOW_SENT;
	u64 *value = flow.lookup(&sent);

	if (value)
		add_at_once(value, bytes);
#endif
}

/* Sends the record; returns whether there was room. */
static __always_inline int send(struct scratch *scratch)
{
	u32 size = scratch->event.size + RING_HEADER;

	size = ((size + RECORD_ALIGN - 1) & ~(RECORD_ALIGN - 1)) - RING_HEADER;
	asm volatile("" : "+r"(size));
	size &= 0x7fff;
	if (size > sizeof(struct event) + MEMORY)
		return 0;
	if (events.ringbuf_output(scratch, size, wakeup(scratch, size)))
		return 0;
	note_sent(size + RING_HEADER);
	return 1;
}

/*
 * --lossless: while more than LOSSLESS bytes of the ring wait to be read, whoever adds to them waits here for the reader, for PAUSE_NS at most, at each
 * call. So a thread makes 2,000 calls a second then, and the rest of the ring holds them for a long time; a reader that has this CPU to share gets it
 * when the call returns. Nothing is kept from going on by isotrace's end: the programs end with it.
 */
#define PAUSE_NS 500000
#define PAUSE_TURNS 256		/* the verifier goes through all of them: few, so each takes its time */

static __always_inline void wait_for_room(struct scratch *scratch)
{
#if defined(LOSSLESS)
	u32 first = FLOW_SENT, second = FLOW_TAKEN;
	volatile u64 *sent = flow.lookup(&first), *taken = flow.lookup(&second);
	u64 until;

	if (!sent || !taken || (s64)(*sent - *taken) < LOSSLESS)
		return;
	until = bpf_ktime_get_ns() + PAUSE_NS;
	_Pragma("nounroll")
	for (u32 turn = 0; turn < PAUSE_TURNS; turn++) {
		read_kernel(scratch->memory, MEMORY, scratch->memory);	/* onto itself, word by word: a few µs, and the record has been sent */
		if (bpf_ktime_get_ns() > until || (s64)(*sent - *taken) < LOSSLESS)
			break;
	}
#endif
}

/* Where the thread is, with CONTAINERS. `task` is the current one, or another thread of its process. */
static __always_inline void add_whereabouts(struct scratch *scratch, u64 task)
{
#if defined(CONTAINERS)
	u32 at = scratch->event.size;
	struct whereabouts *found;
	struct blob *blob;

	asm volatile("" : "+r"(at));
	at &= 0x7fff;
	if (at > MEMORY)	/* it never is: there is room behind the last capture */
		return;
	blob = (void *)scratch + at;
	__builtin_memset(blob, 0, sizeof(*blob));
	blob->arg = BLOB_TASK;
	blob->part = PART_WHEREABOUTS;
	blob->size = sizeof(*found);
	blob->full = bpf_get_current_cgroup_id();
	found = (void *)(blob + 1);
	found->pid = own_pid(task);
	found->tid = own_tid(task);
	scratch->event.size += sizeof(*blob) + sizeof(*found);
	scratch->event.blobs++;
#endif
}

static __always_inline void add_own_whereabouts(struct scratch *scratch)
{
#if defined(CONTAINERS)	/* to ask for the task costs an instruction */
	add_whereabouts(scratch, CURRENT());
#endif
}

static __always_inline void finish(struct scratch *scratch)
{
	add_own_whereabouts(scratch);
	count(&scratch->event, send(scratch));
	wait_for_room(scratch);
}

/* The arguments of the call; those of a call multiplexed by socketcall or ipc are there already: see trace_demux.h. */
static __always_inline void take_args(struct event *event, u64 regs_address)
{
	if (event->slot < SLOT_SOCKETCALL || event->slot >= SLOT_MULTIPLEXED_END)
		current_args(event->args, event->abi, regs_address);
}

static __always_inline void complete(struct event *event, u64 regs_address, s64 result)
{
	take_args(event, regs_address);
	event->result = event->abi == ABI_I386 ? (s32)result : result;
	event->time = bpf_ktime_get_ns();
}

/* In on_enter: that of the thread's call something may be kept until it ends. */
static __always_inline void note_thread(void)
{
#if defined(CHANGES)
	u32 tid = (u32)bpf_get_current_pid_tgid(), page = tid / PIDS_A_PAGE;
	struct pids *found = noted.lookup(&page);

	if (found)
		found->state[tid & (PIDS_A_PAGE - 1)] = 1;
#endif
}

static __always_inline void forget_call(u64 task)
{
	given.delete(&task);
#if defined(MEASURE_TIME)
	started.delete(&task);
#endif
}

/* In on_exit, of a thread that is not watched: if it was when the call began, no other call may be taken for that one. */
static __always_inline void forget_thread(void)
{
#if defined(CHANGES)
	u32 tid = (u32)bpf_get_current_pid_tgid(), page = tid / PIDS_A_PAGE;
	struct pids *found = noted.lookup(&page);

	if (!found || !found->state[tid & (PIDS_A_PAGE - 1)])
		return;
	found->state[tid & (PIDS_A_PAGE - 1)] = 0;
	forget_call(bpf_get_current_task());
#endif
}

/* With MEASURE_TIME, in on_enter. */
static __always_inline void note_start(u64 task, u32 slot)
{
#if defined(MEASURE_TIME)
	u64 who = OWN_IDS();
	struct beginning now = { bpf_ktime_get_ns(), slot, who >> 32, who, 0 };
	u8 *wanted = asked.lookup(&slot);

	if (wanted && *wanted)
		started.update(&task, &now);
#endif
}

/* With MEASURE_TIME: the time since on_enter saw this call begin, or 0 if it did not, as of one that seccomp refused. */
static __always_inline void set_duration(struct event *event)
{
#if defined(MEASURE_TIME)
	u64 task = CURRENT();
	struct beginning *start = started.lookup(&task);

	if (start) {
		if (start->slot == number_slot(event->slot))
			event->duration = event->time - start->time;
		started.delete(&task);
	}
#endif
}

/* The record of the call that ends here, without captures; NULL never happens, but the verifier cannot know. */
static __always_inline struct scratch *returned(struct call_context *ctx)
{
	struct scratch *scratch = get_scratch(AT_EXIT);

	if (scratch) {
		complete(&scratch->event, REGISTERS(ctx), RESULT(ctx));
		set_duration(&scratch->event);
	}
	return scratch;
}

static __always_inline void send_extra(struct scratch *scratch, u32 which)
{
	u64 *value;

	add_own_whereabouts(scratch);
	if (send(scratch))
		return;
	value = stats.lookup(&which);
	if (value)
		(*value)++;
}

#endif
