// SPDX-License-Identifier: GPL-2.0-only
/*
 * Logging: every call of the watched tasks becomes one record in the ring `events`.
 *
 * on_exit, on the raw tracepoint sys_exit, filters and then tail-calls the program that the call's slot of `exits` holds: one program per shape of
 * arguments. An empty slot ends there: the call was not asked for. pt_regs still holds number and arguments, and the memory that the call touched
 * is resident by then. on_enter does the same for the calls that do not come back, or not as they went.
 *
 * Constants: see filter.h; OFF_… from the kernel's BTF (isotrace/kernel/btf.py); RING_PAGES; WATERMARK (bytes); MEASURE_TIME.
 */
#include <linux/types.h>
#include "event.h"
#include "filter.h"
#include "calls.h"

#define MEMORY 28416		/* bytes of captures that a record can hold */
#define STRING_MAX 4096
#define PAGE 4096
#define IOVECS 8
#define MESSAGES 4
#define ARGUMENTS 32
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
BPF_PERCPU_ARRAY(tally, u64, TALLIES);
struct loss_key { u32 pid, slot; };
struct loss { u64 count; char comm[16]; };
BPF_HASH(losses, struct loss_key, struct loss, 8192);	/* _LOSSES in isotrace/backends/tracepoint.py */
BPF_ARRAY(losing, u64, 1);	/* all of them: user space looks at the others only when this has changed */
BPF_ARRAY(captures, struct captures, SLOTS);
#if defined(LOSSLESS)
/* Bytes that were sent; bytes that the reader has taken, which it writes there (BCC has no bpf_ringbuf_query). */
enum { FLOW_SENT = 0, FLOW_TAKEN = 1 };
BPF_F_TABLE("array", u32, u64, flow, 2, BPF_F_MMAPABLE);
#endif
#if defined(MEASURE_TIME)
BPF_HASH(started, u32, u64, 131072);
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
	u32 sent;		/* bytes since the reader was last woken */
	/* What loops work on. On the stack the verifier would follow every value that it can have, through every turn. */
	struct user_iovec iov;
	struct compat_iovec iov32;
	struct user_msghdr msg;
	struct compat_msghdr msg32;
	u64 total, iov_at, iov_count, msg_at, msg_count;
};
/*
 * Each attached program has a record of its own, shared with those that it tail-calls: where tracepoints can be preempted, another program may run
 * on this CPU meanwhile, but never the same one.
 */
enum owner { AT_EXIT, AT_ENTER, AT_TASK_EXEC, AT_TASK_EXIT, AT_SIGNAL, OWNERS };
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
	event->tid = (u32)bpf_get_current_pid_tgid();
	event->ppid = who->ppid;
	event->uid = real_uid(who->task);
	event->number = number;
	event->slot = slot;
	event->kind = KIND_CALL;
	event->blobs = 0;
	event->duration = 0;
	event->abi = abi;
	event->size = sizeof(*event);
	bpf_get_current_comm(event->comm, sizeof(event->comm));
}

/* The reader looks at the ring some times a second; it is woken only for every WATERMARK bytes that this CPU has sent. */
static __always_inline u64 wakeup(struct scratch *scratch, u32 size)
{
	scratch->sent += size;
	if (scratch->sent < WATERMARK)
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

/* ---- captures ---------------------------------------------------------------------------------------------- */

/* A blob at the end of the record, or NULL when the record is full. */
static __always_inline struct blob *new_blob(struct scratch *scratch, u8 arg, u8 part, u64 full)
{
	u32 at = scratch->event.size;
	struct blob *blob;

	asm volatile("" : "+r"(at));
	at &= 0x7fff;
	if (at > MEMORY - sizeof(*blob) - STRING_MAX)
		return NULL;
	blob = (void *)scratch + at;
	blob->arg = arg;
	blob->part = part;
	blob->state = BLOB_WHOLE;
	blob->full = full;
	return blob;
}

static __always_inline void close_blob(struct event *event, struct blob *blob, long got)
{
	if (got < 0) {
		blob->state = BLOB_FAULT;
		got = 0;
	}
	blob->size = got;
	event->size += sizeof(*blob) + (((u32)got + 7) & 0x3ff8);
	event->blobs++;
}

static __always_inline void capture_string(struct scratch *scratch, u8 arg, u64 address, u32 limit)
{
	struct blob *blob = new_blob(scratch, arg, PART_SELF, 0);
	long got;

	if (!address || !blob)
		return;
	/* one more than the limit tells a string that ends there from one that was cut */
	limit++;
	asm volatile("" : "+r"(limit));
	limit &= 0x1fff;
	if (limit > STRING_MAX)
		limit = STRING_MAX;
	got = read_user_string(blob + 1, limit, (void *)address);
	/* up to 6.12 the NUL counts in every string but an empty one (seen on 5.10, 6.1, 6.12; not on 6.18) */
	if (got == 0) {
		*(char *)(blob + 1) = 0;
		got = 1;
	}
	if (got == limit)
		blob->state = BLOB_CUT;
	if (got < 0)
		blob->full = address;
	close_blob(&scratch->event, blob, got);
}

/* At most `limit` of the `full` bytes at `address`. */
static __always_inline void capture_bytes(struct scratch *scratch, u8 arg, u8 part, u64 address, u64 full, u32 limit)
{
	struct blob *blob = new_blob(scratch, arg, part, full);
	u32 size = full < limit ? (u32)full : limit;
	long got;

	if (!address || !blob)
		return;
	asm volatile("" : "+r"(size));
	size &= 0x1fff;
	if (size > STRING_MAX)
		size = STRING_MAX;
	got = read_user(blob + 1, size, (void *)address);
	if (full > size)
		blob->state = BLOB_CUT;
	close_blob(&scratch->event, blob, got == 0 ? (long)size : got);
}

/* As capture_bytes, of the argument itself; if that cannot be read as a whole, then what lies on its first page. */
static __always_inline void capture_readable(struct scratch *scratch, u8 arg, u64 address, u64 full, u32 limit)
{
	u32 rest = PAGE - (address & (PAGE - 1));
	char last;

	if (full > limit ? limit > rest : full > rest)
		if (read_user(&last, 1, (void *)(address + rest)))
			limit = rest;
	capture_bytes(scratch, arg, PART_SELF, address, full, limit);
}

static __always_inline u64 length_of(struct event *event, u8 how)
{
	u32 value = 0;

	if (how == LEN_ONE)
		return 1;
	if (how == LEN_RESULT)
		return event->result > 0 ? event->result : 0;
	if (how < LEN_RESULT)
		return event->args[(how - 1) & 7];
	if (how >= LEN_NARROW)
		return (u32)event->args[(how - LEN_NARROW) & 7];
	read_user(&value, sizeof(value), (void *)event->args[(how - LEN_POINTER) & 7]);
	return value;
}

static __always_inline long read_iovec(struct scratch *scratch, u64 address, u32 index, int compat)
{
	struct compat_iovec *narrow = &scratch->iov32;
	struct user_iovec *iov = &scratch->iov;
	long error;

	if (!compat)
		return read_user(iov, sizeof(*iov), (void *)(address + index * sizeof(*iov)));
	error = read_user(narrow, sizeof(*narrow), (void *)(address + index * sizeof(*narrow)));
	iov->base = narrow->base;
	iov->size = narrow->size;
	return error;
}

static __always_inline long read_msghdr(struct scratch *scratch, u64 address, int compat)
{
	struct compat_msghdr *narrow = &scratch->msg32;
	struct user_msghdr *msg = &scratch->msg;
	long error;

	if (!compat)
		return read_user(msg, sizeof(*msg), (void *)address);
	error = read_user(narrow, sizeof(*narrow), (void *)address);
	msg->name = narrow->name;
	msg->name_size = narrow->name_size;
	msg->iov = narrow->iov;
	msg->iov_count = narrow->iov_count;
	msg->control = narrow->control;
	msg->control_size = narrow->control_size;
	return error;
}

/* The array, then what its first elements point to: scratch->total bytes in all. */
static __always_inline void capture_iovec(struct scratch *scratch, u8 arg, u64 address, u64 count, u32 limit, int compat)
{
	u32 size = compat ? sizeof(struct compat_iovec) : sizeof(struct user_iovec);

	capture_bytes(scratch, arg, PART_IOV, address, count * size, IOVECS * size);
	scratch->iov_at = address;
	scratch->iov_count = count;
	_Pragma("nounroll")
	for (u32 i = 0; i < IOVECS; i++) {
		if (i >= scratch->iov_count || read_iovec(scratch, scratch->iov_at, i, compat))
			break;
		if (scratch->iov.size > scratch->total)
			scratch->iov.size = scratch->total;
		capture_bytes(scratch, arg, PART_DATA, scratch->iov.base, scratch->iov.size, limit);
		scratch->total -= scratch->iov.size;
	}
}

/* `size` is that of a msghdr, or of the mmsghdr that begins with one. */
static __always_inline void capture_msghdr(struct scratch *scratch, u8 arg, u64 address, u32 size, u32 limit, int compat)
{
	struct user_msghdr *msg = &scratch->msg;

	capture_bytes(scratch, arg, PART_SELF, address, size, size);
	if (read_msghdr(scratch, address, compat))
		return;
	capture_bytes(scratch, arg, PART_NAME, msg->name, msg->name_size, 128);
	capture_bytes(scratch, arg, PART_CONTROL, msg->control, msg->control_size, 256);
	capture_iovec(scratch, arg, msg->iov, msg->iov_count, limit, compat);
}

/* ---- programs reached by tail call ----------------------------------------------------------------------------- */

/*
 * --lossless: while more than LOSSLESS bytes of the ring wait to be read, whoever adds to them waits here for the reader, for PAUSE_NS at most, at each
 * call. So a thread makes 2,000 calls a second then, and the rest of the ring holds them for a long time; a reader that has this CPU to share gets it
 * when the call returns. Nothing is kept from going on by isotrace's end: the programs end with it.
 */
#define PAUSE_NS 500000
#define PAUSE_TURNS 2000	/* each some 400 ns; the verifier goes through all of them */
#define CLOCK_READS 8

static __always_inline void wait_for_room(void)
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
		u64 now = 0;

		_Pragma("unroll")
		for (u32 i = 0; i < CLOCK_READS; i++)
			now = bpf_ktime_get_ns();
		if (now > until || (s64)(*sent - *taken) < LOSSLESS)
			break;
	}
#endif
}

static __always_inline void finish(struct scratch *scratch)
{
	count(&scratch->event, send(scratch));
	wait_for_room();
}

static __always_inline void complete(struct event *event, u64 regs_address, s64 result)
{
	current_args(event->args, event->abi, regs_address);
	event->result = event->abi == ABI_I386 ? (s32)result : result;
	event->time = bpf_ktime_get_ns();
}

/* With MEASURE_TIME: the time since on_enter saw this thread, or 0 if it did not. */
static __always_inline void set_duration(struct event *event)
{
#if defined(MEASURE_TIME)
	u32 tid = event->tid;
	u64 *start = started.lookup(&tid);

	if (start) {
		event->duration = event->time - *start;
		started.delete(&tid);
	}
#endif
}

static __always_inline int failed(struct event *event)
{
	return event->result < 0 && event->result >= -4095;
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

/* Registers only. */
int exit_plain(struct call_context *ctx)
{
	struct scratch *scratch = returned(ctx);

	if (scratch)
		finish(scratch);
	return 0;
}

static __always_inline int memory_record(struct call_context *ctx)
{
	struct scratch *scratch = returned(ctx);
	struct captures *plan;
	struct event *event;
	u32 slot;

	if (!scratch)
		return 0;
	event = &scratch->event;
	slot = event->slot;
	plan = captures.lookup(&slot);
	if (!plan)
		return 0;
	_Pragma("nounroll")
	for (u32 i = 0; i < CAPTURES; i++) {
		struct capture *one = &plan->list[i];
		u64 address = event->args[one->arg & 7];

		if (one->op == OP_NONE)
			break;
		if (one->on_success && failed(event))
			continue;
		if (one->op == OP_STRING)
			capture_string(scratch, one->arg, address, one->limit);
		else
			capture_readable(scratch, one->arg, address, length_of(event, one->length) * one->unit, one->limit);
	}
	finish(scratch);
	return 0;
}

/* Strings, buffers, structs and socket addresses, as `captures` says for the slot. */
int exit_memory(struct call_context *ctx)
{
	return memory_record(ctx);
}

/* fork, vfork, clone, clone3: the new task returns as well, with 0, from a call that it did not make. */
int exit_fork(struct call_context *ctx)
{
	if (RESULT(ctx) == 0)
		return 0;
	return memory_record(ctx);
}

static __always_inline int vector_record(struct call_context *ctx, int compat)
{
	struct scratch *scratch = returned(ctx);
	struct captures *plan;
	struct capture *one;
	struct event *event;
	u64 address;
	u32 slot;

	if (!scratch)
		return 0;
	event = &scratch->event;
	slot = event->slot;
	plan = captures.lookup(&slot);
	if (!plan)
		return 0;
	one = &plan->list[0];
	address = event->args[one->arg & 7];
	scratch->total = one->on_success ? length_of(event, LEN_RESULT) : ~0ULL;
	if (!(one->on_success && failed(event))) {
		if (one->op == OP_IOVEC)
			capture_iovec(scratch, one->arg, address, length_of(event, one->length), one->limit, compat);
		else
			capture_msghdr(scratch, one->arg, address, compat ? sizeof(struct compat_msghdr) : sizeof(struct user_msghdr),
				       one->limit, compat);
	}
	finish(scratch);
	return 0;
}

/* readv, writev, sendmsg, recvmsg and their kin. */
int exit_vector(struct call_context *ctx)
{
	return vector_record(ctx, 0);
}

int exit_vector32(struct call_context *ctx)
{
	return vector_record(ctx, 1);
}

/* sendmmsg and recvmmsg: the first messages. A mmsghdr is a msghdr and the bytes that were sent or received. */
static __always_inline int messages_record(struct call_context *ctx, int compat)
{
	u32 header = compat ? sizeof(struct compat_msghdr) : sizeof(struct user_msghdr);
	u32 size = compat ? header + 4 : header + 8, slot;
	struct scratch *scratch = returned(ctx);
	struct captures *plan;
	struct capture *one;
	struct event *event;

	if (!scratch)
		return 0;
	event = &scratch->event;
	slot = event->slot;
	plan = captures.lookup(&slot);
	if (!plan)
		return 0;
	one = &plan->list[0];
	scratch->msg_at = event->args[one->arg & 7];
	scratch->msg_count = one->on_success && failed(event) ? 0 : length_of(event, one->length);
	_Pragma("nounroll")
	for (u32 i = 0; i < MESSAGES; i++) {
		u64 address = scratch->msg_at + i * size;

		if (i >= scratch->msg_count)
			break;
		scratch->total = one->on_success ? 0 : ~0ULL;
		if (one->on_success)
			read_user(&scratch->total, sizeof(u32), (void *)(address + header));
		capture_msghdr(scratch, one->arg, address, size, one->limit, compat);
	}
	finish(scratch);
	return 0;
}

int exit_messages(struct call_context *ctx)
{
	return messages_record(ctx, 0);
}

int exit_messages32(struct call_context *ctx)
{
	return messages_record(ctx, 1);
}

/* ---- execve ------------------------------------------------------------------------------------------------------
 *
 * A failed execve is one record, made at exit. Of one that succeeds the arguments are gone by then, and at enter a page of them may not be
 * resident yet: so KIND_EXEC_ENTER brings what could be read at enter, KIND_EXEC_NAME the file's name from the kernel's own copy, and the record at
 * exit the arguments as they lie on the new program's stack. args[5] is the task's address in all three, which joins them: the tid may change.
 */

static __always_inline void capture_argv(struct scratch *scratch, u8 arg, u64 address, u32 width)
{
	_Pragma("nounroll")
	for (u32 i = 0; address && i < ARGUMENTS; i++) {
		u64 pointer = 0;

		if (read_user(&pointer, width, (void *)(address + i * width))) {
			capture_bytes(scratch, arg, PART_IOV, address + i * width, width, width);
			break;
		}
		if (!pointer)
			break;
		capture_string(scratch, arg, pointer, STRING_LIMIT);
	}
}

/* An empty blob whose `full` is the number of environment variables. */
static __always_inline void count_envp(struct scratch *scratch, u8 arg, u64 address)
{
	u32 width = scratch->event.abi == ABI_I386 ? 4 : 8;
	struct blob *blob;
	u32 i;

	if (!address)
		return;
	_Pragma("nounroll")
	for (i = 0; i < VARIABLES; i++) {
		u64 pointer = 0;

		if (read_user(&pointer, width, (void *)(address + i * width)) || !pointer)
			break;
	}
	blob = new_blob(scratch, arg, PART_SELF, i);
	if (blob)
		close_blob(&scratch->event, blob, 0);
}

/* The position of the path among the arguments: execveat has a directory before it. */
static __always_inline u32 path_arg(struct event *event)
{
	if (event->abi == ABI_I386)
		return event->number == 358;
	return event->number == 322 || event->number == (545 | X32_BIT);
}

static __always_inline void capture_exec(struct scratch *scratch)
{
	struct event *event = &scratch->event;
	u32 at = path_arg(event) & 1;

	capture_string(scratch, at, event->args[at], STRING_MAX - 1);
	capture_argv(scratch, at + 1, event->args[at + 1], event->abi == ABI_I386 ? 4 : 8);
	count_envp(scratch, at + 2, event->args[at + 2]);
}

int exit_exec(struct call_context *ctx)
{
	struct scratch *scratch = returned(ctx);
	struct event *event;
	u32 width;
	u64 sp = 0;

	if (!scratch)
		return 0;
	event = &scratch->event;
	event->args[5] = bpf_get_current_task();
	if (failed(event)) {
		capture_exec(scratch);
	} else {
		read_kernel(&sp, sizeof(sp), (void *)(REGISTERS(ctx) + offsetof(struct registers, sp)));
		width = abi_of(CURRENT(), 0) == ABI_I386 ? 4 : 8;
		capture_argv(scratch, (path_arg(event) & 1) + 1, sp + width, width);
	}
	finish(scratch);
	return 0;
}

static __always_inline void send_extra(struct scratch *scratch, u32 which)
{
	u64 *value;

	if (send(scratch))
		return;
	value = tally.lookup(&which);
	if (value)
		(*value)++;
}

int enter_exec(struct call_context *ctx)
{
	struct scratch *scratch = get_scratch(AT_ENTER);

	if (!scratch)
		return 0;
	complete(&scratch->event, REGISTERS(ctx), 0);
	scratch->event.kind = KIND_EXEC_ENTER;
	scratch->event.args[5] = bpf_get_current_task();
	capture_exec(scratch);
	send_extra(scratch, TALLY_EXTRAS_LOST);
	return 0;
}

/* ---- calls that are recorded at enter -------------------------------------------------------------------------------- */

/* exit and exit_group never return; call number -1 is indistinguishable at exit from a finished rt_sigreturn. */
int enter_plain(struct call_context *ctx)
{
	struct scratch *scratch = get_scratch(AT_ENTER);

	if (!scratch)
		return 0;
	complete(&scratch->event, REGISTERS(ctx), scratch->event.number == (u32)-1 ? -ENOSYS : 0);
	finish(scratch);
	return 0;
}

/* The result of a sigreturn is the register that it restores: that and the mask lie in the frame at sp. */
static __always_inline int sigreturn_record(struct call_context *ctx, u32 result_at, u32 mask_at, u32 width)
{
	struct scratch *scratch = get_scratch(AT_ENTER);
	u64 frame = 0, result = 0;

	if (!scratch)
		return 0;
	complete(&scratch->event, REGISTERS(ctx), 0);
	read_kernel(&frame, sizeof(frame), (void *)(REGISTERS(ctx) + offsetof(struct registers, sp)));
	read_user(&result, width, (void *)(frame + result_at));
	scratch->event.result = width == 4 ? (s32)result : result;
	capture_bytes(scratch, 0, PART_SELF, frame + mask_at, width, width);
	finish(scratch);
	return 0;
}

int enter_sigreturn(struct call_context *ctx)
{
	return sigreturn_record(ctx, UCONTEXT_AX, UCONTEXT_MASK, 8);
}

int enter_rt_sigreturn32(struct call_context *ctx)
{
	return sigreturn_record(ctx, RT_FRAME32_AX, RT_FRAME32_MASK, 4);
}

int enter_sigreturn32(struct call_context *ctx)
{
	return sigreturn_record(ctx, FRAME32_AX, FRAME32_MASK, 4);
}

/* ---- attached programs -------------------------------------------------------------------------------------------- */

/*
 * When execve or execveat has succeeded, the registers say execve of the new program's ABI, whatever was called (set_personality_64bit and
 * set_personality_ia32 in arch/x86/kernel/process_64.c): on_enter leaves here what it was.
 */
struct exec_call {
	u32 number;
	u32 abi;
};
BPF_HASH(executing, u64, struct exec_call, 16384);

static __always_inline void remember_exec(u64 task, u8 abi, s32 number)
{
	struct exec_call call = { number, abi };

	if (is_exec(abi, number))
		executing.update(&task, &call);
}

static __always_inline void recall_exec(u64 task, u8 *abi, s32 *number)
{
	struct exec_call *call;

	if (!is_exec(*abi, *number))
		return;
	call = executing.lookup(&task);
	if (!call)
		return;
	*number = call->number;
	*abi = call->abi;
	executing.delete(&task);
}

int on_exit(struct call_context *ctx)
{
	struct scratch *scratch;
	struct who who;
	s32 number;
	u32 slot;
	u8 abi;

	if (!is_watched(&who))
		return 0;
	number = original_number(REGISTERS(ctx));
	abi = abi_of(who.task, number);
	if (number == -1)
		return 0;
	recall_exec(who.task, &abi, &number);
	slot = slot_of(abi, number);
	scratch = get_scratch(AT_EXIT);
	if (!scratch)
		return 0;
	begin(&scratch->event, &who, abi, number, slot);
	exits.call(ctx, slot);
	return 0;
}

/* Whether any ABI has, under this number, a call that is recorded at enter: a first, cheap test. */
static __always_inline int maybe_special(s32 number)
{
	switch (number) {
	case 1: case 11: case 15: case 59: case 60: case 119: case 173: case 231: case 252: case 322: case 358: case -1:
		return 1;
	}
	return number & X32_BIT ? 1 : 0;
}

int on_enter(struct call_context *ctx)
{
	struct scratch *scratch;
	struct who who;
	s32 number = NUMBER(ctx);
	u32 slot;
	u8 abi;

#if !defined(MEASURE_TIME)
	if (!maybe_special(number))
		return 0;
#endif
	abi = abi_of(CURRENT(), number);
	activate(abi, number);
	if (!is_watched(&who))
		return 0;
#if defined(MEASURE_TIME)
	u32 tid = (u32)bpf_get_current_pid_tgid();
	u64 now = bpf_ktime_get_ns();

	started.update(&tid, &now);
#endif
	remember_exec(who.task, abi, number);
	slot = slot_of(abi, number);
	scratch = get_scratch(AT_ENTER);
	if (!scratch || ((slot & SLOT_UNKNOWN) == SLOT_UNKNOWN && number != -1))
		return 0;
	begin(&scratch->event, &who, abi, number, slot);
	enters.call(ctx, slot);
	return 0;
}

/* A record about the current task that is not a call. */
static __always_inline struct scratch *note(u32 owner, struct who *who, u8 kind, s64 result)
{
	struct scratch *scratch = get_scratch(owner);
	struct event *event;

	if (!scratch)
		return NULL;
	event = &scratch->event;
	begin(event, who, ABI_X86_64, 0, 0);
	event->kind = kind;
	event->result = result;
	event->time = bpf_ktime_get_ns();
	return scratch;
}

int on_task_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct scratch *scratch;
	struct blob *blob;
	struct who who;
	long got;
	u64 file;

	if (!is_watched(&who))
		return 0;
	file = read_u64(ctx->args[2] + OFF_BPRM_FILENAME);
	scratch = note(AT_TASK_EXEC, &who, KIND_EXEC_NAME, file != read_u64(ctx->args[2] + OFF_BPRM_INTERP));
	if (!scratch)
		return 0;
	scratch->event.args[5] = who.task;
	blob = new_blob(scratch, 0, PART_SELF, 0);
	if (!blob)
		return 0;
	got = read_kernel_string(blob + 1, STRING_MAX, (void *)file);
	close_blob(&scratch->event, blob, got);
	send_extra(scratch, TALLY_EXTRAS_LOST);
	return 0;
}

int on_task_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct scratch *scratch;
	struct who who;

	if (!is_watched(&who))
		return 0;
	scratch = note(AT_TASK_EXIT, &who, KIND_TASK_EXIT, read_u32(who.task + OFF_EXIT_CODE));
	if (scratch)
		send_extra(scratch, TALLY_EXTRAS_LOST);
#if defined(MEASURE_TIME)
	u32 tid = (u32)bpf_get_current_pid_tgid();

	started.delete(&tid);
#endif
	return 0;
}

int on_signal(struct bpf_raw_tracepoint_args *ctx)
{
	struct scratch *scratch;
	struct blob *blob;
	struct who who;
	long got;

	/* No siginfo: not a signal, but the end of a thread whose group exits or is killed (SEND_SIG_NOINFO in get_signal). */
	if (!ctx->args[1] || !is_watched(&who))
		return 0;
	scratch = note(AT_SIGNAL, &who, KIND_SIGNAL, (s32)ctx->args[0]);
	if (!scratch)
		return 0;
	blob = new_blob(scratch, 0, PART_SELF, SIGINFO);
	if (!blob)
		return 0;
	got = read_kernel(blob + 1, SIGINFO, (void *)ctx->args[1]);
	close_blob(&scratch->event, blob, got == 0 ? SIGINFO : got);
	send_extra(scratch, TALLY_EXTRAS_LOST);
	return 0;
}

#include "descent.h"
