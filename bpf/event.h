/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The contract between the kernel programs and isotrace/trace/events.py: tests/test_layout.py compiles this file
 * and compares every offset with the numpy dtypes there.
 *
 * A record in the ring is one struct event, then `blobs` captures: a struct blob each, its bytes, and padding to a
 * multiple of 8. Records are padded so that record and ring header together are a multiple of RECORD_ALIGN bytes:
 * the reader finds all records of a chunk with a few vector operations (isotrace/trace/ring.py).
 */
#ifndef ISOTRACE_EVENT_H
#define ISOTRACE_EVENT_H

#define RECORD_ALIGN 32
#define RING_HEADER 8

enum event_kind {
	KIND_CALL = 0,		/* a call that returned, or never will (exit, exit_group) */
	KIND_EXEC_ENTER = 1,	/* path and argv of an execve(at) before it ran: see trace_exec.h */
	KIND_EXEC_NAME = 2,	/* the file that was executed, from linux_binprm; `result` is 1 if another runs it (a script) */
	KIND_TASK_EXIT = 3,	/* a thread ended; `result` is its wait status; args[0] the thread that takes its number, and the process, by execve */
	KIND_SIGNAL = 4,	/* a signal is delivered; `result` is its number, the first blob its siginfo */
	KIND_UNFINISHED = 5,	/* made in user space from /proc: a call that a thread is inside of */
	KIND_REFUSED = 6,	/* a call that was refused; `result` is the negative errno, `duration` rule, hook and reason: see block.h */
	KIND_ANSWERED = 9,	/* as KIND_REFUSED, because whoever was asked has said so */
	KIND_ASKED = 8,		/* a call that waits for an answer: as KIND_REFUSED, but `result` is the question's number, `pad` the accesses to a path (block_ask.h) */
};

enum event_abi { ABI_X86_64 = 0, ABI_X32 = 1, ABI_I386 = 2 };

struct event {
	u64 time;		/* ns, CLOCK_MONOTONIC, when the call returned */
	u64 duration;		/* ns in the call; 0 when not measured */
	u32 pid;		/* thread group */
	u32 tid;
	u32 ppid;		/* thread group of real_parent */
	u32 uid;		/* real uid */
	u32 number;		/* the ABI's own call number */
	u16 slot;		/* index into calls, captures and counters */
	u8 kind;
	u8 blobs;
	s64 result;
	u64 args[6];
	char comm[16];
	u32 size;		/* bytes of event and blobs, without the padding at the end */
	u8 abi;
	u8 unread;		/* a blob of it could not be read */
	u8 later;		/* bit n: user space has read argument n after that (isotrace/trace/late.py); 0 here */
	u8 pad;			/* of KIND_ASKED the accesses; of others, with PIDS, 1 and how deep the pid namespace of the caller is */
};

enum blob_state { BLOB_WHOLE = 0, BLOB_CUT = 1, BLOB_FAULT = 2, BLOB_LATER = 4 /* with one of these: read in user space, after the call had returned */ };

/* What a blob is of its argument: the thing pointed to, or a part that this points to in turn. */
enum blob_part { PART_SELF = 0, PART_IOV = 1 /* also the place in an argv that could not be read; with another state, what is behind the strings: see trace_exec.h */, PART_DATA = 2, PART_NAME = 3, PART_CONTROL = 4, PART_PATH = 5,
	PART_BEFORE = 6, /* the thing pointed to as it was when the call began; what PART_SELF has is from its end */
	PART_FILE = 7, /* what a descriptor is: a struct descriptor, or nothing where it is not open; `full` is its number */
	PART_NETLINK = 8, /* the descriptor is a netlink socket; `full` is its protocol, and nothing follows */
	PART_REGISTERS = 9, /* of BLOB_STACK: struct registers of calls.h */
	PART_STACK_MEMORY = 10, /* of BLOB_STACK: what lies there from address `full` on */
	PART_FRAMES = 11, /* of BLOB_STACK, made in user space of the last two: isotrace/stacks/frames.py */
	PART_RING = 12 /* of an operation of io_uring, as that of argument BLOB_RING: a struct ring_note */,
	PART_BASE = 13 /* the directory that a path begins at, in the same way, when the call begins and when it ends: `full` is BASE_… or a descriptor */,
	PART_WHEREABOUTS = 14 /* of BLOB_TASK: a struct whereabouts, `full` is the cgroup's number; user space puts the container's name behind it */,
	PART_PLACE = 15 /* behind PART_FILE: the same up to the root of its file system, whose device is `other` */ };

/* The number of a blob PART_BASE: AT_FDCWD, and the root directory of the process. Its `other` is how often the process has changed these. */
#define BASE_HOME -100
#define BASE_ROOT -101

struct blob {
	u8 arg;
	u8 part;
	u8 state;
	u8 pad;
	u16 size;		/* bytes that follow */
	u16 pad2;
	u64 full;		/* bytes that the argument has; of a string 0, or its address if that could not be read */
};

/* The `arg` of the user stack. */
#define BLOB_STACK 6

/* The `arg` of a descriptor that a call returned. */
#define BLOB_RESULT 7

/* The `arg` of what is known of an operation of io_uring beside its arguments. */
#define BLOB_RING 8

/* The `arg` of where the thread is: the last capture that is made here, and the first once user space has seen it. */
#define BLOB_TASK 9

/* The numbers of the process and of the thread in the pid namespace below isotrace's; 0 where they are in isotrace's. */
struct whereabouts {
	u32 pid;
	u32 tid;
};

enum ring_state {
	RING_POLLED = 1,	/* the ring's own thread has taken it: which thread of the process asked for it is not known */
	RING_UNTOLD = 2,	/* as it was submitted: of its success nobody is told */
};

struct ring_note {
	u64 user_data;		/* the caller's name for it */
	u32 completion;		/* bits of IORING_CQE_F_ */
	u8 flags;		/* bits of IOSQE_ */
	u8 opcode;
	u8 state;		/* bits of enum ring_state */
	u8 unknown;		/* bit n: argument n is not known */
	u8 later;		/* bit n: argument n was read where the process may have changed it since the kernel did */
	u8 pad[7];
};

enum descriptor_state {
	DESCRIPTOR_DELETED = 1,
	DESCRIPTOR_CUT = 2,	/* there are more names above */
	DESCRIPTOR_ALONE = 4,	/* nothing is above its name: what the kernel keeps to itself, such as a pipe */
	DESCRIPTOR_UNSURE = 8,	/* it changed while it was looked at */
};

/* What a descriptor is; behind it a struct endpoints of a socket, of anything else its names, from its own up to the root, a NUL behind each. */
struct descriptor {
	u64 inode;		/* its number */
	u64 other;		/* of a device its number, of a pidfd the process, 0 where it is gone */
	u32 magic;		/* of the file system */
	u16 mode;
	u8 state;		/* bits of enum descriptor_state */
	u8 pad;
};

/* Of a socket; behind it the path of a unix socket that has one, as in struct sockaddr_un. */
struct endpoints {
	u64 peer;		/* inode of a unix socket's other end, 0 where there is none; a netlink socket's port */
	u16 family;
	u16 protocol;
	u16 port;		/* in the host's order, as the next */
	u16 peer_port;
	u8 address[16];
	u8 peer_address[16];
	char name[16];		/* the protocol's, of the kernel */
};

/*
 * Call slots: x86-64 and x32 share the first half by number, i386 has the second; the last of each is "no such call", and so is for every number from
 * SLOT_NUMBERS on: what has slots there is no call with a number of its own.
 */
#define SLOTS 2048
#define SLOT_I386 1024
#define SLOT_UNKNOWN 1023
#define SLOT_NUMBERS 900
/* Operations of io_uring have slots by their opcode; the last is for those that there is no slot for, or that are not known. */
#define SLOT_RING 900
#define RING_OPERATIONS 120
/* The calls multiplexed by i386's socketcall and ipc have slots by its first argument; the first of each is for what is none of them. */
#define SLOT_SOCKETCALL (SLOT_I386 + 900)
#define SLOT_IPC (SLOT_I386 + 930)
#define SLOT_MULTIPLEXED_END (SLOT_I386 + 960)

enum capture_op {
	OP_NONE = 0,
	OP_STRING = 1,		/* NUL-terminated, at most `limit` bytes */
	OP_BYTES = 2,		/* `unit` bytes × the length found by `length` */
	OP_IOVEC = 3,		/* an array of iovec and its buffers */
	OP_MSGHDR = 4,		/* a msghdr, its name, its iovec and its control data */
	OP_MESSAGES = 5,	/* the same for `length` mmsghdr: each one's blobs begin with PART_SELF */
	OP_FILE = 6,		/* what descriptor it is; where `unit` is 1, AT_FDCWD is the working directory */
	OP_BASE = 7,		/* where the path begins; if `unit` is not 0 argument `unit` - 1 has the descriptor of a directory */
	OP_PROGRAM = 8,		/* the instructions of a struct sock_fprog, where argument `length` is `unit` */
};

enum capture_length {
	LEN_ONE = 0,
	LEN_RESULT = 8,
	/*
	 * 1…6: the value of argument n - 1; 17…22: the u32 that argument n - 17 points to; 25…30: the low half of argument n - 25; 33…38: the bytes of
	 * a set of so many descriptors as argument n - 33 says, in whole words
	 */
	LEN_POINTER = 17,
	LEN_NARROW = 25,
	LEN_BITS = 33,
};

struct capture {
	u8 op;
	u8 arg;
	u8 length;
	u8 on_success;		/* read only if the call did not fail */
	u16 unit;
	u16 limit;		/* bytes */
};

#define CAPTURES 5

/*
 * Where an argument of an operation of io_uring is: in the submission queue's entry, which is memory that the kernel shares with the process, and in the
 * kernel's own request. A mask says which of the eight bytes there are the argument's; 0: it is not there.
 */
struct ring_field {
	u64 entry_mask;
	u64 request_mask;
	u16 entry_at;
	u16 request_at;
	u16 name_at;		/* of a path, the pointer to struct filename in the request */
	u8 has_name;
	u8 pad;
};

#define RING_FIELDS 8		/* six, and up to a power of two */

struct ring_operation {
	struct ring_field fields[RING_FIELDS];
	u8 wanted;
	u8 pad[7];
};

#define FILES_RESULT 1		/* the result */
#define FILES_PAIR 2		/* and more: the two ints that argument n - 2 points to */

/* Counters that are not of one call. */
enum stats { STAT_NOT_FOLLOWED = 0, STAT_EXTRAS_LOST = 1, STATS = 2 };

struct captures {
	struct capture list[CAPTURES];
	u8 before;		/* the call has rows in `befores` as well: what it was given, where the kernel writes over it */
	u8 files;		/* descriptors that the call makes: FILES_… */
	u8 netlink;		/* argument 0 may be a netlink socket: its messages are copied beyond the limit of strings */
	u8 pad[5];
};

#endif
