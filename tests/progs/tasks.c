/* SPDX-License-Identifier: GPL-2.0-only */
/* New processes and threads: who made which call, and no return in the child that made none. */
#include "expect.h"
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define THREADS 4

static void *body(void *number)
{
	syscall(SYS_getpgid, 1000000 + (int)syscall(SYS_gettid));
	return number;
}

static void threads(void)
{
	pthread_t ids[THREADS];

	for (long i = 0; i < THREADS; i++)
		pthread_create(&ids[i], NULL, body, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
}

static long new_process(long call, void *arguments)
{
	long pid;

	if (call == SYS_clone)
		pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
	else if (call == SYS_clone3)
		pid = syscall(SYS_clone3, arguments, CLONE_ARGS_SIZE_VER0);
	else
		pid = syscall(SYS_fork);
	if (pid == 0)
		_exit(5);
	return pid;
}

static void wait_for(long pid)
{
	say("wait4(%ld, [{WIFEXITED(s) && WEXITSTATUS(s) == 5}], 0, NULL) = %ld\n", pid, pid);
	waitpid(pid, &(int){0}, 0);
}

int main(int argc, char **argv)
{
	struct clone_args arguments = { .exit_signal = SIGCHLD };
	pid_t pid;

	signal(SIGCHLD, SIG_DFL);
	begin("tasks");
	wait_for(EXPECT(new_process(SYS_fork, NULL), "fork()"));
	pid = vfork();
	if (pid == 0)
		_exit(5);
	say("vfork() = %d\n", pid);
	wait_for(pid);
	wait_for(EXPECT(new_process(SYS_clone, NULL), "clone(child_stack=NULL, flags=SIGCHLD)"));
	wait_for(EXPECT(new_process(SYS_clone3, &arguments), "clone3({flags=0, exit_signal=SIGCHLD, stack=NULL, stack_size=0}, 64)"));
	finish("tasks", argv[argc - 1]);
	begin("threads");
	threads();
	finish("threads", "threads.expected");
	return 0;
}
