/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a process is: its cgroup, by which user space knows the container, and the numbers that it has itself, in its own pid namespace. Needs filter.h.
 *
 * Constants: OFF_THREAD_PID, OFF_SIGNAL, OFF_SIGNAL_PIDS, OFF_PID_LEVEL, OFF_PID_NUMBERS.
 */
#ifndef ISOTRACE_WHEREABOUTS_H
#define ISOTRACE_WHEREABOUTS_H

#define PID_LEVEL_MAX 32	/* MAX_PID_NS_LEVEL, include/linux/pid_namespace.h */
#define UPID_SIZE 16		/* struct upid, include/linux/pid.h */
#define GROUP_PID 1		/* PIDTYPE_TGID, since 4.19 */

/* The number of a struct pid in its own namespace; 0 where that is isotrace's: it is the number that is shown. */
static __always_inline u32 own_number(u64 pid)
{
	u32 level = read_u32(pid + OFF_PID_LEVEL);

	if (!pid || level <= PID_LEVEL || level > PID_LEVEL_MAX)
		return 0;
	return read_u32(pid + OFF_PID_NUMBERS + UPID_SIZE * level);
}

/* Of the task's process. */
static __always_inline u32 own_pid(u64 task)
{
	return own_number(read_u64(read_u64(task + OFF_SIGNAL) + OFF_SIGNAL_PIDS + sizeof(u64) * GROUP_PID));
}

static __always_inline u32 own_tid(u64 task)
{
	return own_number(read_u64(task + OFF_THREAD_PID));
}

#endif
