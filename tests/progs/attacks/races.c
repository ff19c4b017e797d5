// SPDX-License-Identifier: GPL-2.0-only
/* What only gets through between two moments: while isotrace attaches, or while a call is judged. */
#include "attack.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define LINES 3
#define SECONDS 6

/* Shared by all processes: whether the rules are there, whether to end, and how often the file was opened since. */
static struct shared {
	volatile int ruled, over;
	int opened, tried;
} *shared;

static const char *file, *other;

static void share(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void try_once(const char *path)
{
	int ruled = shared->ruled, fd = open(path, O_RDONLY);

	if (ruled)
		__atomic_add_fetch(&shared->tried, 1, __ATOMIC_RELAXED);
	if (fd < 0)
		return;
	if (ruled)
		__atomic_add_fetch(&shared->opened, 1, __ATOMIC_RELAXED);
	close(fd);
}

/* Gives what is at work some seconds under the rules. */
static int judged(const char *what)
{
	shared->ruled = 1;
	sleep(SECONDS);
	shared->over = 1;
	errno = EPERM;
	SAY("%d tries", shared->tried);
	if (!shared->tried)
		return 2;
	return verdict(what, shared->opened ? 0 : -1);
}

/* The same for what is at work since before the rules; the line comes after them. */
static int judged_later(const char *what)
{
	char line[16];

	SAY("ready");
	if (!fgets(line, sizeof(line), stdin))
		return 2;
	return judged(what);
}

/* A line of processes: each tries, makes the next and ends. */
static void line_of_forks(void)
{
	while (!shared->over) {
		pid_t child = fork();

		if (child > 0)
			_exit(0);
		try_once(file);
	}
	_exit(0);
}

/* FILE: lines of processes that live for a moment each, from before the rules on. */
static int forks(char **a)
{
	file = a[0];
	share();
	if (nice(19) < 0)
		return UNTRIED;	/* isotrace is to come to its start all the same */
	prctl(PR_SET_CHILD_SUBREAPER, 1);	/* so that what is left is waited for here */
	signal(SIGCHLD, SIG_IGN);
	for (int i = 0; i < LINES; i++)
		if (!fork())
			line_of_forks();
	return judged_later("one of the descendants opened it");
}

static void *one_thread(void *unused)
{
	(void)unused;
	try_once(file);
	return NULL;
}

static void *line_of_threads(void *unused)
{
	pthread_t one;

	(void)unused;
	while (!shared->over && !pthread_create(&one, NULL, one_thread, NULL))
		pthread_join(one, NULL);
	return NULL;
}

/* FILE: threads that come and go, from before the rules on. */
static int threads(char **a)
{
	pthread_t one[LINES];

	file = a[0];
	share();
	if (nice(19) < 0)
		return UNTRIED;
	for (int i = 0; i < LINES; i++)
		pthread_create(&one[i], NULL, line_of_threads, NULL);
	return judged_later("one of the threads opened it");
}

static char name[4096];

static void *flips_name(void *unused)
{
	(void)unused;
	while (!shared->over) {
		strcpy(name, other);
		strcpy(name, file);
	}
	return NULL;
}

/* Whether what the flipped name led to is the forbidden file: its first byte tells. */
static void *opens_flipped(void *unused)
{
	char first;

	(void)unused;
	while (!shared->over) {
		int ruled = shared->ruled, fd = open(name, O_RDONLY);

		if (ruled)
			__atomic_add_fetch(&shared->tried, 1, __ATOMIC_RELAXED);
		if (fd >= 0 && read(fd, &first, 1) == 1 && first == 's' && ruled)
			__atomic_add_fetch(&shared->opened, 1, __ATOMIC_RELAXED);
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static int flipped(char **a, const char *begin, void *(*flips)(void *))
{
	pthread_t one, two;

	file = a[0];
	other = a[1];
	share();
	strcpy(name, begin);
	pthread_create(&one, NULL, flips, NULL);
	pthread_create(&two, NULL, opens_flipped, NULL);
	return judged("the forbidden file was read");
}

/* FILE OTHER: a thread writes the one name over the other while the call reads it. FILE begins with an s, OTHER does not. */
static int flipped_name(char **a)
{
	return flipped(a, a[1], flips_name);
}

static char *symbolic;

static void *flips_link(void *unused)
{
	char spare[4096];

	(void)unused;
	snprintf(spare, sizeof(spare), "%s.spare", symbolic);
	while (!shared->over)
		for (int i = 0; i < 2; i++) {
			unlink(spare);
			if (symlink(i ? file : other, spare) || rename(spare, symbolic))
				return NULL;
		}
	return NULL;
}

/* FILE OTHER LINK: a symbolic link that leads to the one and to the other in turn. */
static int flipped_link(char **a)
{
	symbolic = a[2];
	if (symlink(a[1], symbolic))
		return UNTRIED;
	return flipped(a, symbolic, flips_link);
}

ATTACKS({"forks", forks, 1}, {"threads", threads, 1}, {"flipped_name", flipped_name, 2}, {"flipped_link", flipped_link, 3})
