/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * work KIND ...: does something, timed by itself, and writes the nanoseconds into the file that BENCH_RESULT names, or prints them.
 *
 *	getppid N	N calls; nanoseconds per call
 *	open N		N times open and close /etc/hostname; nanoseconds per pair
 *	pipe N		N times a byte to another process and one back; nanoseconds per round
 *	storm N		N times fork a process that exits, 8 of them alive at most; nanoseconds per process
 *	mixed N		N times open, fstat, read, close, getppid; nanoseconds per five calls
 *	run CMD ...	a command; nanoseconds in all
 *	stand FILE	make FILE, then sleep until somebody removes it
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ALIVE 8

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void say(double nanoseconds)
{
	const char *name = getenv("BENCH_RESULT");
	int fd = name ? open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600) : 1;

	if (fd < 0 || dprintf(fd, "%.1f\n", nanoseconds) < 0)
		err(1, "%s", name ?: "standard output");
}

static void one_getppid(void)
{
	syscall(SYS_getppid);
}

static void one_open(void)
{
	close(open("/etc/hostname", O_RDONLY));
}

static void one_mixed(void)
{
	char data[512];
	struct stat status;
	int fd = open("/etc/hostname", O_RDONLY | O_CLOEXEC);

	if (fstat(fd, &status) || read(fd, data, sizeof(data)) < 0)
		err(1, "/etc/hostname");
	close(fd);
	syscall(SYS_getppid);
}

static int there[2], back[2];

static void echo(void)
{
	char byte;

	close(there[1]);
	while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
		;
	_exit(0);
}

/* Both on one CPU: where the scheduler puts them matters more than any tracer. */
static void start_pipe(void)
{
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(sched_getcpu(), &first);
	sched_setaffinity(0, sizeof(first), &first);
	if (pipe(there) || pipe(back))
		err(1, "pipe");
	if (fork() == 0)
		echo();
}

static void one_pipe(void)
{
	char byte = 'x';

	if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
		err(1, "pipe");
}

static void one_storm(void)
{
	static int alive;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	if (child < 0)
		err(1, "fork");
	if (++alive == ALIVE && wait(NULL) > 0)
		alive--;
}

static const struct { const char *name; void (*once)(void), (*before)(void); } kinds[] = {
	{ "getppid", one_getppid }, { "open", one_open }, { "mixed", one_mixed },
	{ "pipe", one_pipe, start_pipe }, { "storm", one_storm },
};

/* With BENCH_GATE: make that file and wait until somebody removes it, who has started a tracer meanwhile. */
static void stand(const char *file)
{
	int fd = file ? open(file, O_CREAT | O_WRONLY, 0600) : -1;

	if (fd < 0)
		return;
	close(fd);
	while (!access(file, F_OK))
		usleep(20000);
}

static int loop(const char *name, long rounds)
{
	double start;

	stand(getenv("BENCH_GATE"));

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strcmp(kinds[i].name, name))
			continue;
		if (kinds[i].before)
			kinds[i].before();
		start = now();
		for (long round = 0; round < rounds; round++)
			kinds[i].once();
		say((now() - start) / rounds);
		close(there[1]);
		while (wait(NULL) > 0)
			;
		return 0;
	}
	errx(2, "no such work: %s", name);
}

static int run(char **command)
{
	double start = now();
	int status = 0;

	if (fork() == 0) {
		execvp(command[0], command);
		err(127, "%s", command[0]);
	}
	wait(&status);
	say(now() - start);
	return status != 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		errx(2, "usage: work KIND ARGUMENT...");
	if (!strcmp(argv[1], "run"))
		return run(argv + 2);
	if (!strcmp(argv[1], "stand"))
		return stand(argv[2]), 0;
	return loop(argv[1], atol(argv[2]));
}
