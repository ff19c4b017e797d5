// SPDX-License-Identifier: GPL-2.0-only
/* Who is a member: processes whose number, leader, parent or name changes. FILE is what may not be opened. */
#include "attack.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static char **arguments;

static int opens(const char *what, const char *file)
{
	return verdict(what, reach(file));
}

/* FILE: just that. */
static int plain(char **a)
{
	return opens("by itself", a[0]);
}

static void *execute(void *unused)
{
	char *words[] = {"/proc/thread-self/exe", "plain", arguments[0], NULL};

	unsetenv("ATTACK_WAITS");
	execv(words[0], words);
	return unused;
}

/* FILE: a thread that is not the leader executes; the leader has ended with `gone`, or goes with the execve. */
static int exec_by_thread(char **a)
{
	pthread_t one;

	arguments = a;
	pthread_create(&one, NULL, execute, NULL);
	if (a[1])
		pthread_exit(NULL);
	pause();
	return UNTRIED;
}

/* FILE COUNT: children, each in a place that another has just left; kernel.pid_max is to be low. */
static int again(char **a)
{
	int count = atoi(a[1]), through = 0, failed = 0, status;

	for (int i = 0; i < count; i++) {
		pid_t child = fork();

		if (!child)
			_exit(reach(a[0]) < 0 ? REFUSED : THROUGH);
		if (child < 0 || waitpid(child, &status, 0) != child)
			failed++;
		else
			through += WEXITSTATUS(status) == THROUGH;
	}
	SAY("%d of %d children got through, %d could not be made", through, count, failed);
	return through ? THROUGH : failed == count ? UNTRIED : REFUSED;
}

/* FILE ANSWER: a child ends its parent before it does anything else. */
static int parricide(char **a)
{
	pid_t parent = getpid();

	signal(SIGCHLD, SIG_IGN);
	if (fork()) {
		pause();
		return UNTRIED;
	}
	kill(parent, SIGKILL);
	while (getppid() == parent)
		usleep(1000);
	note(a[1], opens("by an orphan", a[0]) == THROUGH ? "THROUGH\n" : "refused\n");
	return REFUSED;
}

/* FILE ANSWER: a child of the child of a named parent, where children are what is asked for: it may. */
static int grandchild(char **a)
{
	int status = 0;

	if (!fork()) {
		if (!fork())
			_exit(opens("by a grandchild", a[0]));
		wait(&status);
		_exit(WEXITSTATUS(status));
	}
	wait(&status);
	note(a[1], WEXITSTATUS(status) == THROUGH ? "THROUGH\n" : "refused\n");
	return WEXITSTATUS(status);
}

/* FILE: under another name than it was executed. */
static int renamed(char **a)
{
	prctl(PR_SET_NAME, "other");
	return opens("under another name", a[0]);
}

static void *rename_thread(void *through)
{
	prctl(PR_SET_NAME, "other");
	*(int *)through = opens("by a thread of another name", arguments[0]) == THROUGH;
	return NULL;
}

/* FILE: a thread alone takes another name. */
static int renamed_thread(char **a)
{
	int through = 0;
	pthread_t one;

	arguments = a;
	pthread_create(&one, NULL, rename_thread, &through);
	pthread_join(one, NULL);
	return through ? THROUGH : REFUSED;
}

/* FILE: a child of what took another name before. */
static int renamed_child(char **a)
{
	int status = 0;

	prctl(PR_SET_NAME, "other");
	if (!fork())
		_exit(opens("by a child of another name", a[0]));
	wait(&status);
	return WEXITSTATUS(status);
}

/* FILE LINK: executes itself under the name that LINK has. */
static int executed(char **a)
{
	char *words[] = {a[1], "plain", a[0], NULL};

	unsetenv("ATTACK_WAITS");
	execv(a[1], words);
	return verdict("execve", -1);
}

ATTACKS({"plain", plain, 1}, {"exec_by_thread", exec_by_thread, 1}, {"again", again, 2}, {"parricide", parricide, 2},
	{"grandchild", grandchild, 2}, {"renamed", renamed, 1}, {"renamed_thread", renamed_thread, 1},
	{"renamed_child", renamed_child, 1}, {"executed", executed, 2})
