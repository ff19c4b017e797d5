/* SPDX-License-Identifier: GPL-2.0-only */
/* What the module's files share. */
#ifndef ISOTRACE_H
#define ISOTRACE_H

#include <linux/irq_work.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/types.h>
#include <linux/wait.h>
#include "event.h"
#include "isotrace_uapi.h"

#define PIDS (4 * 1024 * 1024)	/* PID_MAX_LIMIT on 64 bits, include/linux/threads.h */
#define MEMORY 28416		/* bytes of captures that a record can hold, as in bpf/trace_record.h */
#define STRING_MAX 4096
#define X32_BIT 0x40000000
#define BIRTHS 65536		/* forks that are remembered while the maps of descent are being filled */

/* ---- ring.c ---- */

struct ring {
	struct kref users;
	void *base;			/* the pages as they are mapped: consumer, producer, data twice */
	struct page **pages;
	unsigned long count;		/* of pages of data */
	unsigned long *consumer, *producer;
	char *data;
	unsigned long mask;
	raw_spinlock_t lock;
	struct wait_queue_head wait;
	struct irq_work wake;
};

struct ring *ring_create(u32 bytes);
void ring_put(struct ring *ring);
bool ring_write(struct ring *ring, const void *record, u32 size);
int character_device_add(void);
void character_device_await(void);
void character_device_remove(void);

/* ---- one controller and what it set: session.c ---- */

struct scratch {
	struct event event;
	char memory[MEMORY];
	char slack[STRING_MAX];
};

/* What one CPU has for itself; used with preemption disabled, never from interrupts. */
struct cpu_state {
	struct scratch scratch;
	u32 sent;			/* bytes since the reader was last woken */
	u64 seen[SLOTS];
	u64 lost[SLOTS];
	u64 extras_lost;
	u64 records_lost;
};

/* What is remembered of a thread between two events. */
struct thread_note {
	u64 start;			/* ns, when its call began */
	u32 exec_number;		/* the execve that it is in, plus one */
	u32 exec_abi;
};

#define NOTES_PER_PAGE (PAGE_SIZE / sizeof(struct thread_note))
#define NOTE_PAGES (PIDS / NOTES_PER_PAGE)

struct target {
	u32 has;			/* bits: 1 << enum isotrace_target */
	u32 ppid, pid, uid, tree, command, level;
	u64 cgroup;
	char comm[TASK_COMM_LEN];
};

struct birth {
	u32 parent, child;
};

struct slot_plan {
	u8 exit, enter;
	struct captures captures;
};

enum session_state { CLAIMED, STARTED, STOPPED };

struct session {
	enum session_state state;
	struct sock *controller;	/* its socket, held; by its portid too, which another may have as soon as this one is closed */
	u32 portid;
	u32 self;			/* its thread group */
	u32 flags;
	u32 string_limit;
	struct ring *ring;
	u32 watermark;
	struct target target;
	bool logs;
	unsigned long *tree, *family;	/* bitmaps by thread group */
	unsigned long *ended;		/* who in them has no thread left */
	atomic64_t joined;		/* how many have become members */
	bool seeding;
	struct birth *births;		/* forks while `seeding` */
	atomic_t birth_count;
	atomic64_t not_followed;
	struct thread_note **notes;
	struct slot_plan slots[SLOTS];
	u16 first[SLOTS], rules_of[SLOTS];
	u32 rule_count;
	struct isotrace_rule *rules;
	atomic64_t *hits;
	u32 hook_count;
	unsigned long *hooks;
	struct cpu_state **cpus;
};

int take_control(struct netlink_ext_ack *ack);
extern struct mutex control;			/* held to change what `active` points to */
extern struct session __rcu *active;

int session_claim(struct sock *controller, u32 portid, u32 ring_bytes);
void session_end(void);
int session_start(struct session *session, struct netlink_ext_ack *ack);
void session_stop(struct session *session);
struct thread_note *note_of(struct session *session, u32 pid, bool create);

/* With preemption disabled. */
static inline struct session *current_session(void)
{
	return rcu_dereference_sched(active);
}

static inline struct cpu_state *my_cpu(struct session *session)
{
	return session->cpus[smp_processor_id()];
}

/* ---- who is watched: watch.c ---- */

struct who {
	u32 pid, ppid;
};

static inline bool target_has(const struct session *session, unsigned int what)
{
	return session->target.has & (1u << what);
}

static inline bool target_descends(const struct session *session)
{
	return session->tree || session->family;
}

/*
 * Where calls are refused another name or parent frees nobody: who has met COMM and PPID once stays, also as a child of what has the name, up to an
 * execve under another.
 */
static inline bool target_keeps(const struct session *session)
{
	return session->rule_count && !target_has(session, ISOTRACE_T_FOLLOW) &&
	       (target_has(session, ISOTRACE_T_PPID) || target_has(session, ISOTRACE_T_COMM));
}

static inline bool keeps_names(const struct session *session)
{
	return target_keeps(session) && target_has(session, ISOTRACE_T_COMM);
}

bool is_watched(struct session *session, struct who *who);
void follow(struct session *session, struct task_struct *child);
void unfollow(struct session *session, struct task_struct *task);
void activate_command(struct session *session);
void judge_name(struct session *session);
void seed(struct session *session);

/* ---- which call it is, and records of it: records.c, capture.c, refuse.c ---- */

u32 call_number(struct pt_regs *regs, u8 *abi);
u32 slot_of(u8 abi, u32 number);
bool is_exec(u8 abi, u32 number);
u32 path_argument(const struct event *event);
void fill_arguments(u64 *args, u8 abi, const struct pt_regs *regs);
void begin_record(struct event *event, const struct who *who, u8 abi, u32 number, u32 slot);
bool send_record(struct session *session, struct cpu_state *cpu);

void on_call_enter(struct session *session, struct pt_regs *regs);
void on_call_exit(struct session *session, struct pt_regs *regs, long result);
void on_exec(struct session *session, pid_t old_pid, const char *file, bool script);
void on_task_exit(struct session *session);
void on_signal(struct session *session, int number, const void *info);

long read_user(void *to, u64 address, u32 size);
void capture_kernel(struct scratch *scratch, const void *data, long size);
void capture_kernel_string(struct scratch *scratch, const char *text);
void capture_memory(struct scratch *scratch, const struct captures *plan);
void capture_vector(struct scratch *scratch, const struct capture *one, bool compat);
void capture_messages(struct scratch *scratch, const struct capture *one, bool compat);
void capture_exec(struct scratch *scratch, u32 limit);
void capture_new_argv(struct scratch *scratch, u64 sp, u32 width, u32 limit);
void capture_mask(struct scratch *scratch, u64 address, u32 width);

long judge(struct pt_regs *regs);

/* ---- hooks.c, table.c, netlink.c ---- */

int probes_find(void);
int probes_attach(struct session *session);
void probes_detach(void);
int hooks_attach(struct session *session, struct netlink_ext_ack *ack);
void hooks_detach(struct session *session);
bool is_call_function(unsigned long address);

extern enum isotrace_mode refuse_mode;
int mode_choose(void);
const char *table_evidence(void);
int table_attach(struct session *session);
void table_detach(void);
unsigned long table_judge(struct pt_regs *regs);
long table_entry(const struct pt_regs *regs);

int netlink_register(void);
void netlink_unregister(void);

#endif
