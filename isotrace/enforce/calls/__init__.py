"""Judging calls, by number and registers: functions of the kernel, seccomp's filters, the kernel module."""
