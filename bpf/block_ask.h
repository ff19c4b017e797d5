/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asking a person: what a rule finds waits for a verdict from user space. Included by block_lsm.c, where ASKS is defined; all rules ask then.
 *
 * A thread waits by beginning its call anew: it is sent SIGSTOP, and SIGCONT, which takes that back at once. What stays is that a signal is to be
 * looked for, so on its way out with -ERESTARTNOINTR it makes the call once more, and comes here again, until there is a verdict. Nothing is stopped,
 * no parent is told, and the kernel's own objects are judged anew each time.
 *
 * A verdict is for one call of one thread on one object. `waits` has the call: by its registers, with a number of its own (`generation`), from the first
 * question on up to its return (on_return, at sys_exit). So a verdict is used up by the call that it was asked for, however many hooks that meets.
 */
#ifndef ISOTRACE_BLOCK_ASK_H
#define ISOTRACE_BLOCK_ASK_H

#define ERESTARTNOINTR 513
#define ERESTARTSYS 512
#define ERESTARTNOHAND 514
#define SIGSTOP 19
#define SIGNAL_BIT(number) (1ULL << ((number) - 1))
#define STOPPING (SIGNAL_BIT(19) | SIGNAL_BIT(20) | SIGNAL_BIT(21) | SIGNAL_BIT(22))	/* SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU */
#define JOBCTL_STOP_PENDING (1 << 17)
#define PF_EXITING 0x4
#define PF_KTHREAD 0x200000
#define SIGACTION 32		/* sizeof(struct k_sigaction), x86-64; the handler comes first */
#define SIG_IGN 1
#define SCHED_NORMAL 0
#define SCHED_BATCH 3
#define SCHED_IDLE 5
#define MANY_QUESTIONS 16	/* of one call: another thread may change what it is about as fast as it likes */
#define MAY_WAIT 1

/* How a thread can wait. */
#define BY_TURNS 1
#define BY_STOP 2		/* its whole process stopped, until user space has it go on */

/* What is to become of a call; 1 to 3 also in `verdicts`. */
#define ANSWER_NONE 0
#define ANSWER_ALLOW 1
#define ANSWER_DENY 2
#define ANSWER_KILL 3
#define ANSWER_WAIT 4

struct wait {
	u64 call;		/* its registers, as one number */
	u64 generation;		/* when it was first asked about */
	u64 start;		/* of the thread */
	u32 pid;
	u16 questions;
	u8 again;		/* this turn of the call ends with a restart, whatever verdict has come meanwhile */
	u8 passed;		/* this turn of the call has been allowed by a rule on calls */
};

struct question {
	u64 task;
	u64 generation;
	u64 object;
	u32 turns;		/* how often the thread has come for the verdict */
	u16 how;		/* it waits since the last time */
	u16 accesses;		/* to a path, that it is about */
};

BPF_HASH(waits, u64, struct wait, WAITS);		/* by task */
BPF_HASH(questions, u64, struct question, WAITS);	/* by number: see number_of_question() */
BPF_HASH(verdicts, u64, u32, WAITS);			/* the same; user space writes them, and removes what is over from all three */
BPF_ARRAY(may_wait, u8, HOOKS * SLOTS);			/* calls that can be begun anew at a hook */
BPF_ARRAY(ending, u32, 1);				/* nobody waits any more: what is not answered is so by the rule */
#define KILLED 2					/* of `ending`: nor is anybody there, and no answer is for a call of now */
BPF_ARRAY(by_call, u16, SLOTS);				/* the rule on a call that is asked about by its path, or 0 */

#define REGISTER(regs, name) read_u64((regs) + offsetof(struct registers, name))

/* The call that the current task is in, as one number: begun anew it has the same registers. */
static __always_inline u64 call_of(u64 task)
{
#if defined(DIRECT)
	u64 regs = (u64)bpf_task_pt_regs((void *)bpf_get_current_task_btf()), call;
#else
	u64 regs = registers_of(task), call;
#endif

	call = mix(REGISTER(regs, orig_ax), REGISTER(regs, ip));
	call = mix(call, REGISTER(regs, sp));
	call = mix(call, REGISTER(regs, di));
	call = mix(call, REGISTER(regs, si));
	call = mix(call, REGISTER(regs, dx));
	call = mix(call, REGISTER(regs, r10));
	call = mix(call, REGISTER(regs, r8));
	call = mix(call, REGISTER(regs, r9));
	call = mix(call, REGISTER(regs, bx));	/* of a 32-bit call, as the next */
	call = mix(call, REGISTER(regs, cx));
	return call;
}

/* Whether `wait` is of this call: of this thread, or of one that becomes the first of its process as it executes a program. */
static __always_inline int is_of(struct wait *wait, u64 call, u64 start, u32 pid, struct judged *judged)
{
	if (wait->call != call)
		return 0;
	return wait->start == start || (wait->pid == pid && is_exec(judged->abi, judged->number));
}

/* Up to 127 bytes of an address, by 8: what is behind its end differs from turn to turn. */
static __always_inline u64 address_of(u64 address, u64 length)
{
	u64 found = length, word, rest;
	u16 family = 0;
	int i;

	read_kernel(&family, sizeof(family), (void *)address);
	if (family == 2 || family == 0)
		length = 8;	/* family, port, address */
	for (i = 0; i < 16; i++) {
		if (length <= 8 * i)
			break;
		word = read_u64(address + 8 * i);
		rest = length - 8 * i;
		if (rest < 8)
			word &= (1ULL << (8 * rest)) - 1;
		found = mix(found, word);
	}
	return found;
}

/* What the question is about, as one number; 0 where that is the call alone. */
static __always_inline u64 object_of(struct judged *judged)
{
	if (judged->both)
		return judged->both;
#if defined(PATH_ACCESSES) || defined(UNIX)
	if (judged->dentry)
		return under_name(judged->dentry, judged->creates);
#endif
	return judged->address ? address_of(judged->address, judged->length) : 0;
}

static __always_inline int is_number_of(struct question *question, u64 task, u64 generation, u64 object)
{
	return question->task == task && question->generation == generation && question->object == object;
}

/* Signals that stop a process and have been sent, to the thread or to all. */
static __always_inline u64 stops_of(u64 task)
{
	u64 shared = read_u64(read_u64(task + OFF_SIGNAL) + OFF_SHARED_PENDING + OFF_PENDING_SIGNAL);

	return (shared | read_u64(task + OFF_PENDING + OFF_PENDING_SIGNAL)) & STOPPING;
}

/*
 * How the thread can begin its call anew without anybody's notice, or 0. Who catches SIGCONT would see it each time; so would a tracer. Where it is
 * blocked, as while a thread or process is made, one stays until it is not, and is nothing then. With STOPS who catches it can be stopped, and sees it once.
 * Who has a stop that is blocked cannot wait: SIGCONT would take it back.
 */
static __always_inline int can_wait(struct judged *judged, u64 task)
{
	u64 at = judged->hook * SLOTS + (judged->slot & (SLOTS - 1)), handler;
	u8 *may = may_wait.lookup((u32 *)&at);
	u32 zero = 0, *ends = ending.lookup(&zero);

	if (!ends || *ends || !may || *may != MAY_WAIT)
		return 0;
	if (read_u32(task + OFF_FLAGS) & (PF_KTHREAD | PF_EXITING | PF_IO_WORKER))
		return 0;
	if ((judged->creates & CREATES_ANEW) == CREATES_ANEW || read_u32(task + OFF_PTRACE))
		return 0;
	if (stops_of(task) & read_u64(task + OFF_BLOCKED))
		return 0;
	handler = read_u64(read_u64(task + OFF_SIGHAND) + OFF_ACTION + SIGACTION * (SIGCONT - 1));
	if (handler <= SIG_IGN)
		return BY_TURNS;
#if defined(STOPS)
	return BY_STOP;
#else
	return 0;
#endif
}

/* Whether io_uring or AIO has it done. What call_rule() says of that is for hooks that rules on calls are judged at. */
static __always_inline int is_ordered(struct judged *judged)
{
	return takes_orders(judged->slot) || (read_u32(bpf_get_current_task() + OFF_FLAGS) & PF_IO_WORKER);
}

/* A thread with a real-time policy would keep all others from its processor while it waits. */
static __always_inline int is_ordinary(u64 task)
{
	u32 policy = read_u32(task + OFF_POLICY);

	return policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE;
}

/*
 * Has the kernel look for signals on the way out; returns whether it will. A stop that is under way is left alone: SIGCONT would take it back as well. So
 * is one that has been sent: the same to the thread has it look, and does what that would.
 */
static __always_inline int begin_anew(u64 task, int how)
{
	u64 stops = stops_of(task);

	if (read_u32(task + OFF_JOBCTL) & JOBCTL_STOP_PENDING)
		return 1;
	if (stops)
		return !bpf_send_signal_thread(stops & SIGNAL_BIT(19) ? 19 : stops & SIGNAL_BIT(20) ? 20 : stops & SIGNAL_BIT(21) ? 21 : 22);
#if defined(STOPS)
	if (how == BY_STOP)
		return !bpf_send_signal(SIGSTOP);
#endif
	if (bpf_send_signal_thread(SIGSTOP))
		return 0;
	bpf_send_signal_thread(SIGCONT);
	return 1;
}

static __always_inline int pose(struct judged *judged, struct wait *wait, u64 number, u64 task, u64 object, u32 index, int how)
{
	struct question fresh = {.task = task, .generation = wait->generation, .object = object, .turns = 1, .how = how, .accesses = judged->accesses};

	if (wait->questions >= MANY_QUESTIONS || questions.update(&number, &fresh))
		return 0;
	wait->questions++;
	judged->kind = KIND_ASKED;
	if (submit_refusal(judged, index, number))
		return 1;
	judged->kind = KIND_REFUSED;
	questions.delete(&number);
	return 0;
}

/* The entry of the call under way; a new one where `able`, or NULL. */
static __always_inline struct wait *wait_of(struct judged *judged, u64 task, int able)
{
	struct wait *wait = waits.lookup(&task), fresh = {};
	u64 call = call_of(task), start = read_u64(task + OFF_START_TIME);
	u32 pid = OWN_TGID();

	if (wait && is_of(wait, call, start, pid, judged))
		return wait;
	if (!able || !is_ordinary(task))
		return NULL;
	fresh.call = call;
	fresh.generation = bpf_ktime_get_ns();
	fresh.start = start;
	fresh.pid = pid;
	if (waits.update(&task, &fresh))
		return NULL;
	return waits.lookup(&task);
}

/*
 * The number of the question, 0 where it is another's; `*object` is what it is about. Another thread can change what an open is to do while it waits
 * (openat2): for an access that was not asked about there is a question of its own.
 */
static __always_inline u64 number_of_question(struct judged *judged, u64 task, u64 generation, u64 *object)
{
	u32 accesses = judged->creates & CREATED ? judged->accesses & ~READS : judged->accesses;
	u64 number = mix(mix(task, generation), *object);
	struct question *question = questions.lookup(&number);

	if (question && is_number_of(question, task, generation, *object) && (accesses & ~(u32)question->accesses)) {
		*object = mix(*object, accesses);
		number = mix(mix(task, generation), *object);
		question = questions.lookup(&number);
	}
	return question && !is_number_of(question, task, generation, *object) ? 0 : number;
}

static __always_inline u32 answer_to(struct judged *judged, u32 index)
{
	u64 task = bpf_get_current_task(), object = object_of(judged), number;
	u32 zero = 0, *ends = ending.lookup(&zero);
	int able = can_wait(judged, task);
	struct wait *wait = wait_of(judged, task, able);
	struct question *question;
	u32 *verdict;

	if (!wait || !ends || *ends == KILLED)
		return ANSWER_NONE;
	if (judged->by_call & wait->passed)
		return ANSWER_ALLOW;	/* what it leads to: the file below an overlay's, for one */
	number = number_of_question(judged, task, wait->generation, &object);
	if (!number)
		return ANSWER_NONE;
	question = questions.lookup(&number);
	verdict = question ? verdicts.lookup(&number) : NULL;
	if (verdict && !wait->again) {
		wait->passed |= judged->by_call & (*verdict == ANSWER_ALLOW);
		return *verdict & 3;
	}
	if (!able)
		return ANSWER_NONE;
	if (question) {
		question->turns++;
		question->how = able;
	} else if (!pose(judged, wait, number, task, object, index, able)) {
		return ANSWER_NONE;
	}
	if (!begin_anew(task, able))
		return ANSWER_NONE;
	wait->again = 1;
	return ANSWER_WAIT;
}

/*
 * Of a rule on every path that stands for rules on calls, that on the call under way, or 0. So these ask about the kernel's own object as well, and
 * what is excepted by a path is not asked about.
 */
static __always_inline u32 rule_on_call(struct judged *judged, u32 index)
{
	struct rule *rule = rules.lookup(&index);
	u32 slot = is_ordered(judged) ? SLOT_BY_RING : judged->slot & (SLOTS - 1);
	u16 *found;

	if (!rule || !(rule->flags & RULE_BY_CALL))
		return index;
	judged->by_call = 1;
	found = by_call.lookup(&slot);
	return found ? *found : 0;
}

/* What the hook is to return where a rule asks. Without an answer, and where there can be none, it is what the rule says. */
static __always_inline s64 ask(struct judged *judged, u32 index)
{
	struct rule *rule;
	u32 answer;

	judged->kind = KIND_REFUSED;
	forget(judged);
	index = number_of(rule_on_call(judged, index));
	if (!index)
		return 0;
	forget(judged);
	answer = number_of(answer_to(judged, index));
	if (answer == ANSWER_ALLOW)
		return 0;
	if (answer == ANSWER_WAIT)
		return -ERESTARTNOINTR;
	if (answer != ANSWER_NONE)
		judged->kind = KIND_ANSWERED;
	rule = rules.lookup(&index);
	if (answer == ANSWER_KILL || (answer == ANSWER_NONE && rule && (rule->flags & RULE_KILL_UNANSWERED)))
		bpf_send_signal(SIGKILL);
	return refuse(judged, index);
}

#if defined(FAIL_CLOSED)
/* At sched_process_exit: isotrace itself is no more. */
int on_own_end(void *ctx)
{
	u32 zero = 0, killed = KILLED;

	if (OWN_TGID() == SELF && group_ended(CURRENT()))
		ending.update(&zero, &killed);
	return 0;
}
#endif

/* At sys_exit: the call that was asked about is over, unless it is begun anew. What another call makes of its answer is not known here. */
int on_return(void *ctx)
{
	u64 task = bpf_get_current_task();
	struct wait *wait = waits.lookup(&task);
	s64 result;

	if (!wait || wait->call != call_of(task))
		return 0;
#if defined(DIRECT)
	result = (s64)read_u64((u64)bpf_task_pt_regs((void *)bpf_get_current_task_btf()) + offsetof(struct registers, ax));
#else
	result = (s64)read_u64(registers_of(task) + offsetof(struct registers, ax));
#endif
	if (result == -ERESTARTSYS || result == -ERESTARTNOINTR || result == -ERESTARTNOHAND)
		wait->again = wait->passed = 0;
	else
		waits.delete(&task);
	return 0;
}

#endif
