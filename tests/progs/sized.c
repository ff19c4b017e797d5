// SPDX-License-Identifier: GPL-2.0-only
/* What a call did not read or did not fill is not shown: structs of the size that the caller has, results that say that there is more. */
#include "expect.h"

#include <grp.h>
#include <linux/openat2.h>
#include <linux/perf_event.h>
#include <linux/sched/types.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define PAGE 4096

/* `size` bytes that end where no memory is any more, of which the first `given` are those of `data`. */
static void *at_the_end(const void *data, size_t given, size_t size)
{
	static char *pages;

	if (!pages) {
		pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		munmap(pages + PAGE, PAGE);
	}
	memset(pages, 0, PAGE);
	memcpy(pages + PAGE - size, data, given);
	return pages + PAGE - size;
}

static struct sched_attr own;

static void waits(void)
{
	int status = 0x1234, pipes[2];
	struct rusage usage;
	pid_t child;

	if (pipe(pipes))
		abort();
	child = syscall(SYS_fork);
	if (!child) {
		dup2(pipes[0], pipes[1]);
		syscall(SYS_exit_group, read(pipes[0], &status, 1));
	}
	begin("sized");
	EXPECT(syscall(SYS_wait4, child, &status, WNOHANG, &usage), "wait4(%d, %p, WNOHANG, %p)", child, &status, &usage);
	EXPECT(syscall(SYS_close, pipes[1]), "close(%d)", pipes[1]);
	EXPECT(syscall(SYS_wait4, child, &status, 0, NULL), "wait4(%d, [{WIFEXITED(s) && WEXITSTATUS(s) == 0}], 0, NULL)", child);
	EXPECT(syscall(SYS_close, pipes[0]), "close(%d)", pipes[0]);
}

/* Sizes that the kernel does not take: it reads nothing of what is there. */
static void refused(void)
{
	struct open_how how = { .flags = O_WRONLY };
	gid_t groups[2] = { 7, 8 };
	uint64_t set = 1;
	void *at;

	at = at_the_end(&how, 11, 11);
	EXPECT(syscall(SYS_openat2, -1, "f", at, 11), "openat2(-1, \"f\", %p, 11)", at);
	at = at_the_end(&how, 24, 24);
	EXPECT(syscall(SYS_openat2, -1, "f", at, 32), "openat2(-1, \"f\", {flags=O_WRONLY, resolve=0, \?\?\?}, 32)");
	at = at_the_end(&set, 8, 16);
	EXPECT(syscall(SYS_rt_sigprocmask, SIG_SETMASK, at, NULL, 16), "rt_sigprocmask(SIG_SETMASK, %p, NULL, 16)", at);
	at = at_the_end(groups, 4, 4);
	EXPECT(syscall(SYS_setgroups, 2, at), "setgroups(2, [7, ... /* %p */])", (char *)at + 4);
}

static void versions(void)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC };
	struct { struct open_how how; char more[8]; } longer = { how, "later" };
	struct perf_event_attr perf = { .type = 99, .size = PERF_ATTR_SIZE_VER0 };
	void *at;
	int fd;

	fd = EXPECT(syscall(SYS_openat2, AT_FDCWD, "/proc/self/status", at_the_end(&how, 24, 24), 24),
		    "openat2(AT_FDCWD, \"/proc/self/status\", {flags=O_RDONLY|O_CLOEXEC, resolve=0}, 24)");
	EXPECT(syscall(SYS_close, fd), "close(%d)", fd);
	EXPECT(syscall(SYS_openat2, AT_FDCWD, "/proc/self/status", &longer, 32),
	       "openat2(AT_FDCWD, \"/proc/self/status\", {flags=O_RDONLY|O_CLOEXEC, resolve=0, /* bytes 24..31 */ \"\\x6c\\x61\\x74\\x65\\x72\\x00\\x00\\x00\"}, 32)");
	EXPECT(syscall(SYS_openat2, AT_FDCWD, "/proc/self/status", &how, 0), "openat2(AT_FDCWD, \"/proc/self/status\", %p, 0)", &how);
	at = at_the_end(&perf, sizeof(perf) < 64 ? sizeof(perf) : 64, 64);
	EXPECT(syscall(SYS_perf_event_open, at, 0, -1, -1, 0), "perf_event_open({type=0x63 /* PERF_TYPE_??? */, size=64, config=0, sample_period=0, "
	       "sample_type=0, read_format=0, ...}, 0, -1, -1, 0)");
	EXPECT(syscall(SYS_sched_getattr, 0, at_the_end("", 1, 48), 48, 0), "sched_getattr(0, {size=48, sched_policy=SCHED_OTHER, sched_flags=0, "
	       "sched_nice=%d, sched_priority=0, sched_runtime=%llu, sched_deadline=0, sched_period=0}, 48, 0)",
	       own.sched_nice, (unsigned long long)own.sched_runtime);
}

/* A size that the kernel does not know: it writes its own over it. */
static void too_large(void)
{
	static unsigned int attr[128] = { 0, 400 };

	attr[100 - 1] = 1;
	EXPECT(syscall(SYS_perf_event_open, attr, 0, -1, -1, 0), "perf_event_open({type=PERF_TYPE_HARDWARE, size=400, config=0, sample_period=0, "
	       "sample_type=0, read_format=0, ...}, 0, -1, -1, 0)");
	attr[0] = 400;
	attr[1] = 0;
	EXPECT(syscall(SYS_sched_setattr, 0, attr, 0), "sched_setattr(0, {size=400, sched_policy=SCHED_OTHER, sched_flags=0, sched_nice=0, "
	       "sched_priority=0, sched_runtime=0, sched_deadline=0, sched_period=0, sched_util_min=0, sched_util_max=0, ...}, 0)");
}

static void options(void)
{
	int fd = EXPECT(syscall(SYS_socket, AF_UNIX, SOCK_DGRAM, 0), "socket(AF_UNIX, SOCK_DGRAM, 0)"), fds[2];
	struct linger linger = { 9, 9 };
	socklen_t size = 4;
	char buffer[32];
	int value = -1;

	EXPECT(syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_LINGER, &linger, &size), "getsockopt(%d, SOL_SOCKET, SO_LINGER, {l_onoff=0}, [4])", fd);
	size = 2;
	EXPECT(syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &value, &size), "getsockopt(%d, SOL_SOCKET, SO_TYPE, \"\\x02\\x00\", [2])", fd);
	size = 3;
	EXPECT(syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_LINGER, &linger, size), "setsockopt(%d, SOL_SOCKET, SO_LINGER, %p, 3)", fd, &linger);
	EXPECT(syscall(SYS_socketpair, AF_UNIX, SOCK_DGRAM, 0, fds), "socketpair(AF_UNIX, SOCK_DGRAM, 0, [%d, %d])", fd + 1, fd + 2);
	EXPECT(syscall(SYS_sendto, fds[0], "a datagram", 10, 0, NULL, 0), "sendto(%d, \"a datagram\", 10, 0, NULL, 0)", fds[0]);
	memset(buffer, 'Z', sizeof(buffer));
	EXPECT(syscall(SYS_recvfrom, fds[1], buffer, 4, MSG_TRUNC, NULL, NULL), "recvfrom(%d, \"a da\", 4, MSG_TRUNC, NULL, NULL)", fds[1]);
}

static void counts(void)
{
	gid_t groups[2] = { 7, 8 };

	EXPECT(syscall(SYS_setgroups, 2, groups), "setgroups(2, [7, 8])");
	EXPECT(syscall(SYS_getgroups, 0, groups), "getgroups(0, [])");
	EXPECT(syscall(SYS_getgroups, 2, groups), "getgroups(2, [7, 8])");
}

int main(int argc, char **argv)
{
	at_the_end("", 1, 1);
	syscall(SYS_sched_getattr, 0, &own, sizeof(own), 0);
	waits();
	versions();
	too_large();
	options();
	counts();
	refused();
	finish("sized", argv[argc - 1]);
	return 0;
}
