/* SPDX-License-Identifier: GPL-2.0-only
 * Types Ctrl-C into the terminal on its standard input; ends with 0 where it could, with 1 where it was refused. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef TIOCLINUX
#define TIOCLINUX 0x541C
#endif

static int tried(const char *what, unsigned long number)
{
	long result = syscall(SYS_ioctl, 0, number, "\003");

	printf("%s: %s\n", what, result ? strerror(errno) : "THROUGH");
	fflush(stdout);
	return !result;
}

int main(void)
{
	unsigned long above = sizeof(long) == 8 ? ~0UL << (sizeof(long) * 4) : 0; /* the kernel looks at 32 bits of the number */
	int typed = tried("TIOCSTI", TIOCSTI) | tried("TIOCSTI", above | TIOCSTI);
	int pasted = tried("TIOCLINUX", TIOCLINUX) | tried("TIOCLINUX", above | TIOCLINUX);

	return typed || pasted ? 0 : 1;
}
