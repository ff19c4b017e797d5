// SPDX-License-Identifier: GPL-2.0-only
/* Processes that try for long enough to outlive the rules; what comes of it is in a file. FILE is what may not be opened. */
#include "attack.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define TRIES 100
#define PAUSE 200000	/* µs */

static const char *file, *answer;

static void try_for_long(void)
{
	for (int i = 0; i < TRIES; i++, usleep(PAUSE)) {
		if (reach(file) >= 0) {
			note(answer, "THROUGH\n");
			_exit(THROUGH);
		}
		if (!i)
			note(answer, "first try refused\n");
	}
	note(answer, "refused to the end\n");
	_exit(REFUSED);
}

static void *thread(void *unused)
{
	(void)unused;
	try_for_long();
	return NULL;
}

static void ignore_endings(void)
{
	int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};

	for (unsigned i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		signal(ends[i], SIG_IGN);
}

/* FILE ANSWER: the leader of a process ends, a thread of it lives; /proc/PID/stat says Z. */
static int leaderless(char **a)
{
	pthread_t one;

	file = a[0];
	answer = a[1];
	if (fork())
		return THROUGH;
	setsid();
	pthread_create(&one, NULL, thread, NULL);
	pthread_exit(NULL);
}

/* FILE ANSWER: a chain of processes that fork and end at once. */
static int chain(char **a)
{
	file = a[0];
	answer = a[1];
	for (int i = 0; i < 3000; i++)
		if (fork())
			_exit(THROUGH);
	try_for_long();
	return REFUSED;
}

/* FILE ANSWER: goes on trying, whatever ends others. */
static int stays(char **a)
{
	file = a[0];
	answer = a[1];
	ignore_endings();
	try_for_long();
	return REFUSED;
}

/* FILE ANSWER [FULL]: fills FULL and the file system with it, and causes thousands of lines of output. */
static int floods(char **a)
{
	char page[4096] = {0}, path[600];
	int full = a[2] ? open(a[2], O_CREAT | O_WRONLY, 0666) : -1;

	ignore_endings();
	while (full >= 0 && write(full, page, sizeof(page)) > 0)
		;
	while (full >= 0 && write(full, page, 1) > 0)
		;
	for (int i = 0; i < 3000; i++) {
		snprintf(path, sizeof(path), "%s-%d-%0200d", a[0], i, i);
		close(open(path, O_CREAT | O_WRONLY, 0600));
	}
	return stays(a);
}

/* FILE ANSWER: Ctrl-C, typed into the terminal by the command itself. */
static int types_ctrl_c(char **a)
{
	file = a[0];
	answer = a[1];
	ignore_endings();
	note(answer, open(file, O_RDONLY) < 0 ? "before: refused\n" : "before: allowed\n");
	for (int i = 0; i < 2; i++, sleep(2))
		if (ioctl(0, TIOCSTI, "\003"))
			note(answer, "TIOCSTI refused\n");
	try_for_long();
	return REFUSED;
}

static char stack[65536];

static int leave(void *unused)
{
	(void)unused;
	_exit(0);
}

/* FILE COUNT: a child after so many that nobody waited for. */
static int zombies(char **a)
{
	int count = atoi(a[1]), made = 0, status;
	pid_t child;

	while (made < count && clone(leave, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL) >= 0)
		made++;
	SAY("%d zombies%s", made, made < count ? ", and no more" : "");
	child = fork();
	if (child < 0)
		return made < count ? UNTRIED : verdict("fork", -1);
	if (!child)
		_exit(reach(a[0]) < 0 ? errno : 0);
	waitpid(child, &status, 0);
	errno = WEXITSTATUS(status);
	return verdict("open by one more child", errno ? -1 : 0);
}

ATTACKS({"leaderless", leaderless, 2}, {"chain", chain, 2}, {"stays", stays, 2}, {"floods", floods, 2},
	{"types_ctrl_c", types_ctrl_c, 2}, {"zombies", zombies, 2})
