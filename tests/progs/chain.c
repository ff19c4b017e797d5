/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * chain COUNT: COUNT lines of processes. In each, a process makes one call of its own, getpgid(1000000 * (line + 1) + i), forks the next and
 * ends, so that none has its ancestor for a parent for long. They go on until the file "stop" is there; the last of each line writes its number
 * to "last.LINE". The first process stays.
 */
#include "expect.h"

static void follow(int line)
{
	char name[32];
	int i = 0, fd;

	while (access("stop", F_OK)) {
		syscall(SYS_getpgid, 1000000 * (line + 1) + i);
		usleep(200);
		if (fork())
			_exit(0);
		i++;
	}
	snprintf(name, sizeof(name), "last.%d", line);
	fd = open(name, O_WRONLY | O_CREAT, 0666);
	dprintf(fd, "%d", i - 1);
	_exit(0);
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1;

	for (int line = 0; line < count; line++)
		if (fork() == 0)
			follow(line);
	pause();
	return 0;
}
