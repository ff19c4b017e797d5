// SPDX-License-Identifier: GPL-2.0-only
/* Calls that take effect without coming to the hook that holds them. */
#include "attack.h"
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>

static volatile int handled;

static void handle(int number)
{
	(void)number;
	handled++;
}

/* A signal to oneself that says it is from the kernel. */
static int sigqueue_self(char **a)
{
	siginfo_t info = {0};
	long result;

	(void)a;
	signal(SIGUSR1, handle);
	SAY("kill: %s", kill(getpid(), SIGUSR1) ? strerror(errno) : "allowed");
	handled = 0;
	info.si_signo = SIGUSR1;
	info.si_code = SI_KERNEL;
	result = syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &info);
	return verdict("rt_sigqueueinfo to oneself", result || !handled ? -1 : 0);
}

/* fcntl, so that the kernel sends the signal when a pipe can be read. */
static int owned_pipe(char **a)
{
	int ends[2];

	(void)a;
	signal(SIGUSR1, handle);
	if (pipe(ends) || fcntl(ends[0], F_SETFL, O_ASYNC) || fcntl(ends[0], F_SETSIG, SIGUSR1))
		return UNTRIED;
	if (fcntl(ends[0], F_SETOWN, getpid()))
		return verdict("F_SETOWN", -1);
	if (write(ends[1], "x", 1) != 1)
		return UNTRIED;
	for (int i = 0; i < 200 && !handled; i++)
		usleep(10000);
	errno = EPERM;
	return verdict("a signal of F_SETOWN and F_SETSIG", handled ? 0 : -1);
}

static int readv_self(char **a)
{
	char from = 'x', to = 0;
	struct iovec local = {&to, 1}, remote = {&from, 1};

	(void)a;
	return verdict("process_vm_readv of oneself", process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
}

static int getfd_self(char **a)
{
	int ends[2], self = syscall(SYS_pidfd_open, getpid(), 0);

	(void)a;
	if (self < 0 || pipe(ends))
		return UNTRIED;
	return verdict("pidfd_getfd of oneself", syscall(SYS_pidfd_getfd, self, ends[0], 0));
}

static int kcmp_self(char **a)
{
	(void)a;
	return verdict("kcmp of oneself", syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0));
}

static int madvise_self(char **a)
{
	static char page[8192];
	struct iovec memory = {(void *)(((unsigned long)page + 4095) & ~4095UL), 4096};
	int self = syscall(SYS_pidfd_open, getpid(), 0);

	(void)a;
	return verdict("process_madvise of oneself", syscall(440, self, &memory, 1, 20 /* MADV_COLD, 5.4 */, 0));
}

static int fstat_anonymous(char **a)
{
	struct stat s;

	(void)a;
	return verdict("fstat of an eventfd", fstat(eventfd(0, 0), &s));
}

static int fchmod_anonymous(char **a)
{
	(void)a;
	return verdict("fchmod of an eventfd", fchmod(eventfd(0, 0), 0600));
}

/* DIRECTORY: somebody else opens a file of it, and the group's queue hands out a descriptor of that. */
static int fanotified(char **a)
{
	struct fanotify_event_metadata event = {.fd = -1};
	int group = syscall(SYS_fanotify_init, FAN_CLASS_NOTIF, O_RDONLY);

	if (group < 0 || syscall(SYS_fanotify_mark, group, FAN_MARK_ADD, FAN_OPEN | FAN_EVENT_ON_CHILD, AT_FDCWD, a[0]))
		return verdict("fanotify", -1);
	SAY("ready");
	if (read(group, &event, sizeof(event)) < 0)
		return verdict("read of a fanotify group", -1);
	return shows("what fanotify hands out", event.fd);
}

ATTACKS({"sigqueue_self", sigqueue_self, 0}, {"owned_pipe", owned_pipe, 0}, {"readv_self", readv_self, 0},
	{"getfd_self", getfd_self, 0}, {"kcmp_self", kcmp_self, 0}, {"madvise_self", madvise_self, 0},
	{"fstat_anonymous", fstat_anonymous, 0}, {"fchmod_anonymous", fchmod_anonymous, 0}, {"fanotified", fanotified, 1})
