/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The contract between counts.c and isotrace/backends/counts.py: tests/test_top_layout.py compiles this file and compares
 * every offset with the numpy dtypes there. Needs event.h.
 */
#ifndef ISOTRACE_COUNTS_H
#define ISOTRACE_COUNTS_H

#define BUCKETS 32		/* bucket 0: below 128 ns; bucket i: from 2^(6+i) ns to twice that; the last has no end */
#define BUCKET_SHIFT 7
#define PLACE_TEXT 124
#define ERROR_TEXT 64

/* What the catalogue says about a call. */
struct call {
	u8 wanted;		/* WANTED_… */
	u8 bytes;		/* a positive result is a number of bytes */
	u8 ends;		/* never returns: counted when it is entered */
	u8 forks;		/* returns in the new task as well */
	u8 executes;		/* nothing that it was given is left when it succeeds */
	u8 place;		/* PLACE_… of argument `arg` */
	u8 arg;
	u8 length;		/* of a socket address: the argument that has it */
};

/* 2: a multiplexer, of which some calls are wanted: it is counted as the call that it is. */
enum { WANTED = 1, WANTED_WITHIN = 2 };

enum place_kind { PLACE_NONE = 0, PLACE_PATH = 1, PLACE_ADDRESS = 2 };

struct count_key {
	u32 pid;		/* thread group */
	u32 slot;
};

/* Calls without a known start are in no bucket: those that were under way when the programs were attached. */
struct count {
	u64 calls;
	u64 errors;
	u64 bytes;
	u64 time;		/* ns from entry to return, all calls together */
	u64 longest;
	u32 buckets[BUCKETS];	/* each stops at BUCKET_MAX */
};

struct name {
	char comm[16];		/* of the thread group's leader */
	u32 ppid;		/* thread group of real_parent, when it was first named here */
	u32 ended;		/* its last thread has ended: no more calls come */
	u64 cgroup;		/* its number, at the latest execve or when it was first named here; 0: not known */
	u32 own;		/* the process's number in the pid namespace below isotrace's; 0 where it is in isotrace's */
	u32 pad;
};

struct error_key {
	u32 pid;
	u16 slot;
	u16 number;
};

/* Failed calls by errno, and the arguments of the latest. */
struct error {
	u64 count;
	u64 when;		/* ns, CLOCK_MONOTONIC */
	u64 args[6];
	char text[ERROR_TEXT];	/* of the call's path; empty if it has none */
};

/* A path as the program named it, or a socket address; zeros behind it. */
struct place {
	u32 kind;
	char text[PLACE_TEXT];
};

struct touch {
	u64 calls;
	u64 errors;
	u64 time;
	u32 pid;		/* the latest */
	u16 slot;
	u16 number;		/* errno of the latest failure */
};

enum count_stats { STAT_CALLS_LOST = STATS, STAT_ERRORS_LOST, STAT_TOUCHES, STAT_TOUCHES_LOST, COUNT_STATS };

#endif
