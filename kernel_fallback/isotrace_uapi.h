/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The contract between the kernel module and isotrace/backends/lkm.py; tests/test_lkm_contract.py compares the two.
 *
 * A process with CAP_NET_ADMIN and CAP_SYS_ADMIN in the initial user namespace talks to the generic-netlink family
 * "isotrace" (initial network namespace only) and maps /dev/isotrace. The socket that sent CLAIM is the controller, the
 * only one; when it is closed, by whatever end its process comes to, all that it set is withdrawn before close() returns.
 *
 *	command		state		attributes
 *	GET_INFO	any		→ VERSION MODE TABLE BUSY
 *	CLAIM		free		VERSION RING_BYTES
 *	SET_TARGET	claimed		TARGET { PPID PID UID COMM CGROUP CGROUP_LEVEL TREE COMMAND FOLLOW }, all optional,
 *					conditions combine with AND; TREE and COMMAND exclude each other
 *	ADD_SLOTS	claimed		SLOTS: struct isotrace_slot[], what to record of which call
 *	ADD_RULES	claimed		RULES: struct isotrace_rule[], in the order of their slots; the first that matches decides
 *	ADD_HOOKS	claimed		HOOKS: u64[], addresses of the refused calls' functions (mode ftrace)
 *	START		claimed		FLAGS: enum isotrace_flags, STRING_LIMIT
 *	STOP		started		→ started; no more is recorded or refused, counters and ring can be read
 *	GET_COUNTERS	started		→ SEEN: struct isotrace_count[], HITS: u64[] by rule number, EXTRAS_LOST,
 *					RECORDS_LOST, NOT_FOLLOWED, JOINED
 *	GET_MEMBERS	started, dump	→ MEMBERS: u32[], process ids in the map of followed pids, of those that have not ended
 *
 * A command in another state, from another socket or with anything that is not allowed is refused with an error and an
 * extended ack, and changes nothing.
 *
 * /dev/isotrace, opened by the controller's process: page 0 is the reader's position (writable, alone), page 1 the
 * writer's, then the ring's data twice in a row (read-only): what a BPF ring buffer's descriptor gives. A record is a
 * struct event of event.h with its blobs. poll() wakes when an eighth of the ring was written by one CPU.
 */
#ifndef ISOTRACE_UAPI_H
#define ISOTRACE_UAPI_H

#define ISOTRACE_FAMILY "isotrace"
#define ISOTRACE_VERSION 3	/* of all that this file and event.h say */

enum isotrace_command {
	ISOTRACE_CMD_UNSPEC,
	ISOTRACE_CMD_GET_INFO,
	ISOTRACE_CMD_CLAIM,
	ISOTRACE_CMD_SET_TARGET,
	ISOTRACE_CMD_ADD_SLOTS,
	ISOTRACE_CMD_ADD_RULES,
	ISOTRACE_CMD_ADD_HOOKS,
	ISOTRACE_CMD_START,
	ISOTRACE_CMD_STOP,
	ISOTRACE_CMD_GET_COUNTERS,
	ISOTRACE_CMD_GET_MEMBERS,
	ISOTRACE_CMDS
};

enum isotrace_attribute {
	ISOTRACE_A_UNSPEC,
	ISOTRACE_A_VERSION,		/* u32 */
	ISOTRACE_A_MODE,		/* u32: enum isotrace_mode */
	ISOTRACE_A_TABLE,		/* string: what was found out about sys_call_table */
	ISOTRACE_A_BUSY,		/* u32: the controller's process id, 0 when there is none */
	ISOTRACE_A_RING_BYTES,		/* u32: a power of two of at least a page */
	ISOTRACE_A_TARGET,		/* nested: enum isotrace_target */
	ISOTRACE_A_SLOTS,		/* struct isotrace_slot[] */
	ISOTRACE_A_RULES,		/* struct isotrace_rule[] */
	ISOTRACE_A_HOOKS,		/* u64[] */
	ISOTRACE_A_FLAGS,		/* u32 */
	ISOTRACE_A_STRING_LIMIT,	/* u32: bytes of each of an exec's arguments, 1 to 4096 */
	ISOTRACE_A_SEEN,		/* struct isotrace_count[] */
	ISOTRACE_A_HITS,		/* u64[] */
	ISOTRACE_A_EXTRAS_LOST,		/* u64 */
	ISOTRACE_A_RECORDS_LOST,	/* u64: refusals that have no record */
	ISOTRACE_A_NOT_FOLLOWED,	/* u64 */
	ISOTRACE_A_MEMBERS,		/* u32[] */
	ISOTRACE_A_JOINED,		/* u64: how many processes have become members so far */
	ISOTRACE_A_PAD,
	ISOTRACE_ATTRIBUTES
};

enum isotrace_target {
	ISOTRACE_T_UNSPEC,
	ISOTRACE_T_PPID,		/* u32: thread group of real_parent at the time of the call */
	ISOTRACE_T_PID,			/* u32: thread group */
	ISOTRACE_T_UID,			/* u32: real uid */
	ISOTRACE_T_COMM,		/* 16 bytes */
	ISOTRACE_T_CGROUP,		/* u64: id of a cgroup (version 2), with what is below it */
	ISOTRACE_T_CGROUP_LEVEL,	/* u32: how deep that lies */
	ISOTRACE_T_TREE,		/* u32: a process, and all its descendants */
	ISOTRACE_T_COMMAND,		/* u32: the same of a process that has yet to call execve, from then on */
	ISOTRACE_T_FOLLOW,		/* flag: and the descendants of what matches */
	ISOTRACE_TARGETS
};

/* How calls are refused. */
enum isotrace_mode { ISOTRACE_MODE_NONE, ISOTRACE_MODE_FTRACE, ISOTRACE_MODE_TABLE };

enum isotrace_flags {
	ISOTRACE_F_DURATIONS = 1,	/* measure the time in each call */
	ISOTRACE_F_NOTICES = 2,		/* record signals */
	ISOTRACE_F_ALL = 3
};

/* What is recorded of a call when it returns, and when it enters. */
enum isotrace_exit {
	ISOTRACE_EXIT_NONE, ISOTRACE_EXIT_PLAIN, ISOTRACE_EXIT_MEMORY, ISOTRACE_EXIT_FORK, ISOTRACE_EXIT_EXEC,
	ISOTRACE_EXIT_VECTOR, ISOTRACE_EXIT_VECTOR32, ISOTRACE_EXIT_MESSAGES, ISOTRACE_EXIT_MESSAGES32, ISOTRACE_EXITS
};
enum isotrace_enter {
	ISOTRACE_ENTER_NONE, ISOTRACE_ENTER_EXEC, ISOTRACE_ENTER_PLAIN, ISOTRACE_ENTER_SIGRETURN,
	ISOTRACE_ENTER_SIGRETURN32, ISOTRACE_ENTER_RT_SIGRETURN32, ISOTRACE_ENTERS
};

struct isotrace_slot {
	u16 slot;		/* see event.h */
	u8 exit;
	u8 enter;
	struct capture captures[CAPTURES];
};

enum isotrace_action { ISOTRACE_ERRNO, ISOTRACE_KILL, ISOTRACE_AUDIT, ISOTRACE_ACTIONS };
enum isotrace_test { ISOTRACE_ALWAYS, ISOTRACE_EQUAL, ISOTRACE_DIFFERS, ISOTRACE_TESTS };

#define ISOTRACE_MAX_RULES 8192
#define ISOTRACE_MAX_NUMBERS 4096	/* of the user's rules */
#define ISOTRACE_MAX_HOOKS 4096

struct isotrace_rule {
	u16 slot;
	u16 number;		/* the user's rule: what `hits` is counted by */
	u8 action;
	u8 test;		/* on argument `arg` under `mask`, beside `value` */
	u8 arg;
	u8 pad;
	u32 error;		/* a positive errno; the result also of a call that is killed for */
	u32 pad2;
	u64 mask;
	u64 value;
};

struct isotrace_count {
	u32 slot;
	u32 pad;
	u64 seen;
	u64 lost;
};

/* A record of this kind is a refused call: `duration` is the number of the rule, `result` what the caller gets. */
#define ISOTRACE_KIND_REFUSED 16

#endif
