/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a process is: its cgroup, by which user space knows the container, and its numbers in the pid namespace below isotrace's. Needs filter.h.
 *
 * Constants: OFF_THREAD_PID, OFF_SIGNAL, OFF_SIGNAL_PIDS, OFF_PID_LEVEL, OFF_PID_NUMBERS.
 */
#ifndef ISOTRACE_WHEREABOUTS_H
#define ISOTRACE_WHEREABOUTS_H

/*
 * The number of a struct pid in the namespace below isotrace's that it is in, which is that of the container that is named, and not of one within it;
 * 0 where it is in isotrace's: that is the number that is shown.
 */
static __always_inline u32 own_number(u64 pid)
{
	if (!pid || read_u32(pid + OFF_PID_LEVEL) <= PID_LEVEL)
		return 0;
	return read_u32(pid + OFF_PID_NUMBERS + sizeof(struct number) * (PID_LEVEL + 1));
}

/* Of the task's process. */
static __always_inline u32 own_pid(u64 task)
{
	return own_number(PID_OF_GROUP(read_u64(task + OFF_SIGNAL)));
}

static __always_inline u32 own_tid(u64 task)
{
	return own_number(read_u64(task + OFF_THREAD_PID));
}

#endif
