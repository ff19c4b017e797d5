// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counting: the calls of the watched tasks, by process and call, kept here until user space looks. No record leaves the kernel.
 *
 * on_enter filters, and notes time and call in the thread's entry of `started`. on_exit of a thread that has such a note needs no
 * filter and no registers: execve and rt_sigreturn, which change them, come out right, and a new task that returns from its
 * parent's fork is not taken for a caller. A call without a note was under way when the programs were attached, or seccomp refused
 * it before sys_enter: it is counted without a time.
 *
 * Constants: see filter.h; OFF_… from the kernel's BTF; ROWS, ERRORS, PLACES (entries), BUCKET_MAX; TOUCHES to keep places.
 */
#include <linux/types.h>
#include "event.h"
#include "filter.h"
#include "calls.h"
#include "demux.h"
#include "whereabouts.h"
#include "counts.h"
#include "rings.h"

#define NOTHING 0xffffffff

struct start {
	u64 time;
	u32 slot;		/* NOTHING: outside any call */
	u32 pad;
};

/* Too large for the stack; `blank` and `no_error` are never written. */
struct scratch {
	struct registers regs;
	u64 args[8];
	struct count blank;
	struct error no_error;
	struct place place;
};

BPF_HASH(started, u32, struct start, 65536);
BPF_ARRAY(calls, struct call, SLOTS);
BPF_HASH(names, u32, struct name, 16384);
BPF_TABLE("percpu_hash", struct count_key, struct count, counts, ROWS);
BPF_TABLE("percpu_hash", struct error_key, struct error, errors, ERRORS);
BPF_PERCPU_ARRAY(stats, u64, COUNT_STATS);
BPF_PERCPU_ARRAY(scratches, struct scratch, 1);
#if defined(TOUCHES)
BPF_TABLE("lru_hash", struct place, struct touch, touches, PLACES);
#endif

/* One call that has returned, or never will. */
struct done {
	u64 regs;		/* address of pt_regs */
	s64 result;
	u64 duration;
	u32 pid;
	u32 slot;
	int timed;
};

static __always_inline struct scratch *get_scratch(void)
{
	u32 zero = 0;

	return scratches.lookup(&zero);
}

static __always_inline void tell(u32 which)
{
	u64 *value = stats.lookup(&which);

	if (value)
		(*value)++;
}

static __always_inline int failed(struct done *done)
{
	return done->result < 0 && done->result >= -4095;
}

/*
 * The leader's name of a process that has none here yet. Whatever it is called later on_task_rename puts there, be it before or after this: what is read
 * here may be the old name by now, so it takes no other's place.
 */
static __always_inline void set_name(u32 pid)
{
	u64 task = CURRENT();
	u64 leader = read_u64(task + OFF_GROUP_LEADER);
	struct name name = {};

	read_kernel(name.comm, sizeof(name.comm), (void *)(leader + OFF_COMM));
	name.ppid = parent_of(task);
	name.cgroup = bpf_get_current_cgroup_id();
	name.own = own_pid(task);
	names.insert(&pid, &name);
}

/* The row of a process and call on this CPU, made if there is none; NULL when the map is full. */
static __always_inline struct count *row_of(u32 pid, u32 slot, struct scratch *scratch)
{
	struct count_key key = {.pid = pid, .slot = slot};
	struct count *row = counts.lookup(&key);

	if (row)
		return row;
	set_name(pid);
	counts.insert(&key, &scratch->blank);
	row = counts.lookup(&key);
	if (!row)
		tell(STAT_CALLS_LOST);
	return row;
}

static __always_inline void add_time(struct count *row, u64 duration)
{
	u32 bucket = bpf_log2l(duration);

	bucket = bucket > BUCKET_SHIFT ? bucket - BUCKET_SHIFT : 0;
	if (bucket >= BUCKETS)
		bucket = BUCKETS - 1;
	row->time += duration;
	if (duration > row->longest)
		row->longest = duration;
	asm volatile("" : "+r"(bucket));
	bucket &= BUCKETS - 1;
	if (row->buckets[bucket] < BUCKET_MAX)
		row->buckets[bucket]++;
}

static __always_inline void add_error(struct done *done, struct call *call, struct scratch *scratch)
{
	struct error_key key = {.pid = done->pid, .slot = done->slot, .number = -done->result};
	struct error *error = errors.lookup(&key);

	if (!error) {
		errors.insert(&key, &scratch->no_error);
		error = errors.lookup(&key);
	}
	if (!error) {
		tell(STAT_ERRORS_LOST);
		return;
	}
	error->count++;
	error->when = bpf_ktime_get_ns();
	__builtin_memcpy(error->args, scratch->args, sizeof(error->args));
	if (call->place == PLACE_PATH)
		read_user_string(error->text, ERROR_TEXT, (void *)scratch->args[call->arg & 7]);
}

#if defined(TOUCHES)
static __always_inline int read_place(struct call *call, struct scratch *scratch)
{
	u64 address = scratch->args[call->arg & 7];
	u64 size = scratch->args[call->length & 7];

	__builtin_memset(&scratch->place, 0, sizeof(scratch->place));
	scratch->place.kind = call->place;
	if (call->place == PLACE_PATH)
		return read_user_string(scratch->place.text, PLACE_TEXT, (void *)address) > 1;
	if (size > PLACE_TEXT)
		size = PLACE_TEXT;
	asm volatile("" : "+r"(size));
	size &= 0x7f;
	if (size > PLACE_TEXT)
		return 0;
	return address && size > 2 && read_user(scratch->place.text, (u32)size, (void *)address) == 0;
}

static __always_inline void touch(struct done *done, struct scratch *scratch)
{
	struct touch first = {};
	struct touch *found = touches.lookup(&scratch->place);

	tell(STAT_TOUCHES);
	if (!found) {
		touches.insert(&scratch->place, &first);
		found = touches.lookup(&scratch->place);
	}
	if (!found) {
		tell(STAT_TOUCHES_LOST);
		return;
	}
	add_at_once(&found->calls, 1);
	add_at_once(&found->time, done->duration);
	found->pid = done->pid;
	found->slot = done->slot;
	if (failed(done)) {
		add_at_once(&found->errors, 1);
		found->number = -done->result;
	}
}
#endif

static __always_inline void read_args(struct done *done, struct scratch *scratch)
{
	read_kernel(&scratch->regs, sizeof(scratch->regs), (void *)done->regs);
	fill_args(scratch->args, done->slot >= SLOT_I386 ? ABI_I386 : ABI_X86_64, &scratch->regs);
}

/* Which of the multiplexer's calls it is; NULL if that is none that is wanted. What is no call, or cannot be read, is the multiplexer's own. */
static __always_inline struct call *look_inside(struct done *done, struct call *call)
{
	struct scratch *scratch = get_scratch();
	u32 slot;

	if (!scratch)
		return NULL;
	read_args(done, scratch);
	slot = demultiplexed(done->slot - SLOT_I386, scratch->args);
	if (!slot)
		return call;
	done->slot = slot;
	call = calls.lookup(&done->slot);
	return call && call->wanted ? call : NULL;
}

/* What needs the arguments. A successful execve has none left: on_task_exec sees its file. */
static __always_inline void look_closer(struct done *done, struct call *call, struct scratch *scratch)
{
	int place = 0;

#if defined(TOUCHES)
	place = call->place && !(call->executes && !failed(done));
#endif
	if (!failed(done) && !place)
		return;
	if (done->slot == number_slot(done->slot))	/* else they are there */
		read_args(done, scratch);
	if (failed(done))
		add_error(done, call, scratch);
#if defined(TOUCHES)
	if (place && read_place(call, scratch))
		touch(done, scratch);
#endif
}

static __always_inline void add(struct done *done, struct call *call)
{
	struct scratch *scratch = get_scratch();
	struct count *row;

	if (!scratch)
		return;
	row = row_of(done->pid, done->slot, scratch);
	if (row) {
		row->calls++;
		if (failed(done))
			row->errors++;
		else if (call->bytes && done->result > 0)
			row->bytes += done->result;
		if (done->timed)
			add_time(row, done->duration);
	}
	look_closer(done, call, scratch);
}

static __always_inline int maybe_exec(s32 number)
{
	return number == 59 || number == 322 || number == 11 || number == 358 || number & X32_BIT;
}

int on_enter(struct call_context *ctx)
{
	s32 number = NUMBER(ctx);
	struct start *found, start = {};
	struct call *call;
	struct who who;
	u32 tid = (u32)bpf_get_current_pid_tgid();
	u32 slot;
	u8 abi = abi_of(CURRENT(), number);

	if (maybe_exec(number))
		activate(abi, number);
	if (!is_watched(&who))
		return 0;
	slot = slot_of(abi, number);
	call = calls.lookup(&slot);
	if (!call || !call->wanted)
		return 0;
	if (call->ends) {
		struct done done = {.regs = REGISTERS(ctx), .pid = who.pid, .slot = slot};

		add(&done, call);
		return 0;
	}
	start.time = bpf_ktime_get_ns();
	start.slot = slot;
	found = started.lookup(&tid);
	if (found)
		*found = start;
	else
		started.update(&tid, &start);
	return 0;
}

/* The slot of a call that on_enter did not see; NOTHING if it is none of ours. */
static __always_inline u32 late_slot(u64 regs)
{
	struct who who;
	s32 number;

	if (!is_watched(&who))
		return NOTHING;
	number = original_number(regs);
	if (number == -1)
		return NOTHING;
	return slot_of(abi_of(who.task, number), number);
}

int on_exit(struct call_context *ctx)
{
	u64 now = bpf_ktime_get_ns();
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = (u32)id;
	struct start *start = started.lookup(&tid);
	struct done done = {.regs = REGISTERS(ctx), .result = RESULT(ctx), .pid = OWN_TGID_OF(id)};
	struct call *call;

	if (start && start->slot != NOTHING) {
		done.slot = start->slot;
		done.duration = now - start->time;
		done.timed = 1;
		start->slot = NOTHING;
	} else {
		done.slot = late_slot(REGISTERS(ctx));
	}
	call = calls.lookup(&done.slot);
	if (!call || !call->wanted)
		return 0;
	if (!done.timed && call->forks && done.result == 0)
		return 0;
	if (done.slot >= SLOT_I386)
		done.result = (s32)done.result;
	if (call->wanted == WANTED_WITHIN)
		call = look_inside(&done, call);
	if (call)
		add(&done, call);
	return 0;
}

/* An execve by a thread that is not the leader goes on under the leader's tid. */
static __always_inline void move_start(u32 old, u32 tid)
{
	struct start *found = started.lookup(&old);

	if (old == tid || !found)
		return;
	struct start start = *found;

	started.update(&tid, &start);
	started.delete(&old);
}

int on_task_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u64 id = bpf_get_current_pid_tgid();

	move_start((u32)ctx->args[1], (u32)id);
#if defined(TOUCHES)
	struct done done = {.pid = OWN_TGID_OF(id)};
	struct scratch *scratch = get_scratch();
	u32 tid = (u32)id;
	struct start *start = started.lookup(&tid);

	if (!scratch || !start || start->slot == NOTHING)
		return 0;
	done.slot = start->slot;
	__builtin_memset(&scratch->place, 0, sizeof(scratch->place));
	scratch->place.kind = PLACE_PATH;
	read_kernel_string(scratch->place.text, PLACE_TEXT, (void *)read_u64(ctx->args[2] + OFF_BPRM_FILENAME));
	touch(&done, scratch);
#endif
	return 0;
}

/*
 * Whoever gets another name, by execve, prctl or what somebody writes to /proc/PID/comm: the kernel's thread is args[0], args[1] what it will be called. A
 * process is called what its leader is; of one that is watched it is noted also before it is counted, or set_name could put an older name there later.
 */
int on_task_rename(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[0];
	u32 pid = TGID_OF(task);
	struct name name = {}, *found = names.lookup(&pid);
	struct who who;

	if (read_u64(task + OFF_GROUP_LEADER) != task)
		return 0;
	if (found)
		name = *found;
	else if (!is_watched(&who) || who.pid != pid)
		return 0;
	else
		name.ppid = who.ppid;
	if (task == CURRENT())
		name.cgroup = bpf_get_current_cgroup_id();
	name.own = own_pid(task);
	read_kernel_string(name.comm, sizeof(name.comm), (void *)ctx->args[1]);
	names.update(&pid, &name);
	return 0;
}

static __always_inline void set_ended(u32 pid)
{
	struct name *name = names.lookup(&pid);

	if (name)
		name->ended = 1;
}

/* The last thread to go makes its process's counts final; the number becomes nobody else's before that. */
int on_task_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = (u32)id;

	started.delete(&tid);
	if (group_ended(CURRENT()))
		set_ended(OWN_TGID_OF(id));
	return 0;
}

#include "counts_rings.h"
#include "descendants.h"
