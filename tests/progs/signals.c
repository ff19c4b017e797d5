/* SPDX-License-Identifier: GPL-2.0-only */
/* Signals that are handled, and how processes end. Built for both word sizes. */
#include "expect.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void handler(int number)
{
	(void)number;
}

static pid_t run(void (*body)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		body();
		_exit(99);
	}
	waitpid(pid, NULL, 0);
	return pid;
}

static void exits(void)
{
	_exit(3);
}

static void killed(void)
{
	kill(getpid(), SIGKILL);
}

static void terminated(void)
{
	kill(getpid(), SIGTERM);
}

static void crashes(void)
{
	volatile int *nowhere = (void *)0x1230;

	*nowhere = 1;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = handler };
	sigset_t blocked, pending;

	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	const char *name = sizeof(long) == 8 ? "signals" : "signals-m32";

	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	begin(name);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	say("kill(%d, SIGUSR1) = 0\n", getpid());
	say("--- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, si_pid=%d, si_uid=%d} ---\n", getpid(), getuid());
	kill(getpid(), SIGUSR1);
	say("%s({mask=[]}) = 0\n", sizeof(long) == 8 ? "rt_sigreturn" : "sigreturn");
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	EXPECT(kill(getpid(), SIGUSR2), "kill(%d, SIGUSR2)", getpid());
	EXPECT(sigpending(&pending), "rt_sigpending([USR2], 8)");
	sigemptyset(&pending);
	say("rt_sigsuspend([], 8) = ? ERESTARTNOHAND (To be restarted if no handler)\n");
	say("--- SIGUSR2 {si_signo=SIGUSR2, si_code=SI_USER, si_pid=%d, si_uid=%d} ---\n", getpid(), getuid());
	say("%s({mask=[USR2]}) = -1 EINTR (Interrupted system call)\n", sizeof(long) == 8 ? "rt_sigreturn" : "sigreturn");
	sigsuspend(&pending);
	run(exits);
	say("exit_group(3) = ?\n+++ exited with 3 +++\n");
	say("kill(%d, SIGKILL) = 0\n+++ killed by SIGKILL +++\n", run(killed));
	say("kill(%d, SIGTERM) = 0\n+++ killed by SIGTERM +++\n", run(terminated));
	run(crashes);
	say("--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x1230} ---\n+++ killed by SIGSEGV +++\n");
	finish(name, argv[argc - 1]);
	return 0;
}
