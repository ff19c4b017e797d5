/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * openclose PATH: obeys lines on standard input.
 *
 *	measure		a new child opens and closes PATH many times: prints the nanoseconds for one open and close, the least of several
 *			series
 *	calibrate	prints the nanoseconds for one instruction
 *	spawn N		N children more that wait until they are killed: prints N
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SERIES 9
#define ROUNDS 400

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1e9 + at.tv_nsec;
}

static void measure(const char *path)
{
	double least = 1e18, start, took;

	for (int series = 0; series < SERIES; series++) {
		start = now();
		for (int i = 0; i < ROUNDS; i++) {
			int fd = open(path, O_RDONLY | O_CLOEXEC);

			if (fd < 0)
				exit(1);
			close(fd);
		}
		took = (now() - start) / ROUNDS;
		if (took < least)
			least = took;
	}
	printf("%.1f\n", least);
	fflush(stdout);
	exit(0);
}

static void calibrate(void)
{
	long left = 5000000;
	double start = now();

	__asm__ volatile("1: dec %0\n jnz 1b" : "+r"(left));
	printf("%.4f\n", (now() - start) / 10000000);
	fflush(stdout);
}

static void spawn(int count)
{
	for (int i = 0; i < count; i++)
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	printf("%d\n", count);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[64];

	if (argc != 2)
		return 2;
	while (fgets(line, sizeof(line), stdin)) {
		pid_t pid;
		int status;

		if (!strncmp(line, "spawn ", 6)) {
			spawn(atoi(line + 6));
			continue;
		}
		if (!strcmp(line, "calibrate\n")) {
			calibrate();
			continue;
		}
		pid = fork();
		if (pid == 0)
			measure(argv[1]);
		waitpid(pid, &status, 0);
		if (status)
			return 1;
	}
	return 0;
}
