// SPDX-License-Identifier: GPL-2.0-only
/* What a call was given, where the kernel writes over it: sets, times that are left, offsets, lengths. */
#include "expect.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The kernel's own layouts, whatever the C library has: a time of long, and sets of long. */
struct pair { long sec, rest; };

#if defined(__i386__)
#define NAME "written-m32"
#define SELECT "_newselect"
#define SELECT_NUMBER SYS__newselect
#define SENDFILE "sendfile64"
#define SENDFILE_NUMBER SYS_sendfile64
#else
#define NAME "written"
#define SELECT "select"
#define SELECT_NUMBER SYS_select
#define SENDFILE "sendfile"
#define SENDFILE_NUMBER SYS_sendfile
#endif

static void sets(int reading, int writing)
{
	struct pair time = { 0, 2000 };
	fd_set in, out;
	int n = writing + 1;
	long ready;

	FD_ZERO(&in);
	FD_SET(reading, &in);
	say(SELECT "(%d, [%d], NULL, NULL, {tv_sec=0, tv_usec=2000}) = 0 (Timeout)\n", n, reading);
	syscall(SELECT_NUMBER, n, &in, NULL, NULL, &time);

	FD_SET(reading, &in);
	time.rest = 2000000;
	say("pselect6(%d, [%d], NULL, NULL, {tv_sec=0, tv_nsec=2000000}, NULL) = 0 (Timeout)\n", n, reading);
	syscall(SYS_pselect6, n, &in, NULL, NULL, &time, NULL);

	FD_ZERO(&out);
	FD_SET(reading, &in);
	FD_SET(writing, &out);
	time = (struct pair){ 9, 0 };
	ready = syscall(SYS_pselect6, n, &in, &out, NULL, &time, NULL);
	say("pselect6(%d, [%d], [%d], NULL, {tv_sec=9, tv_nsec=0}, NULL) = %ld (out [%d], left {tv_sec=%ld, tv_nsec=%ld})\n",
	    n, reading, writing, ready, writing, time.sec, time.rest);

	/* none but the first words are the set's: what lies behind them is not shown */
	memset(&in, 0xff, sizeof(in));
	EXPECT(syscall(SELECT_NUMBER, 2, &in, NULL, NULL, (void *)-1L), SELECT "(2, [0 1], NULL, NULL, %#lx<fault>)", -1L);
	EXPECT(syscall(SELECT_NUMBER, -1, &in, NULL, NULL, NULL), SELECT "(-1, %p, NULL, NULL, NULL)", &in);
}

static void polled(int writing)
{
	struct pollfd poll = { writing, POLLOUT };
	struct pair time = { 9, 0 };
	long ready = syscall(SYS_ppoll, &poll, 1, &time, NULL, 8);

	say("ppoll([{fd=%d, events=POLLOUT}], 1, {tv_sec=9, tv_nsec=0}, NULL, 8) = %ld ([{fd=%d, revents=POLLOUT}], "
	    "left {tv_sec=%ld, tv_nsec=%ld})\n", writing, ready, writing, time.sec, time.rest);
	poll.events = POLLIN;
	time = (struct pair){ 0, 1000 };
	syscall(SYS_ppoll, &poll, 1, &time, NULL, 8);
	say("ppoll([{fd=%d, events=POLLIN}], 1, {tv_sec=0, tv_nsec=1000}, NULL, 8) = 0 (Timeout)\n", writing);
}

static void offsets(int writing)
{
	int from = EXPECT(syscall(SYS_open, "/proc/self/exe", 0), "open(\"/proc/self/exe\", O_RDONLY)");
	int to = EXPECT(syscall(SYS_memfd_create, "copy", 0), "memfd_create(\"copy\", 0)");
	int64_t at = 3;

	EXPECT(syscall(SENDFILE_NUMBER, to, from, &at, 10), SENDFILE "(%d, %d, [3] => [13], 10)", to, from);
	EXPECT(syscall(SENDFILE_NUMBER, to, from, &at, 0), SENDFILE "(%d, %d, [13], 0)", to, from);
	EXPECT(syscall(SYS_splice, from, &at, writing, NULL, 4, 0), "splice(%d, [13], %d, NULL, 4, 0)", from, writing);
}

static void lengths(void)
{
	struct sockaddr_un address = { AF_UNIX, "written" }, from = {};
	socklen_t size = sizeof(from);
	int fd = EXPECT(syscall(SYS_socket, AF_UNIX, SOCK_DGRAM, 0), "socket(AF_UNIX, SOCK_DGRAM, 0)");
	struct { char bytes[16]; } option;
	char buffer[8];

	EXPECT(syscall(SYS_getsockname, fd, &from, &size), "getsockname(%d, {sa_family=AF_UNIX}, [110 => 2])", fd);
	EXPECT(syscall(SYS_bind, fd, &address, sizeof(address)), "bind(%d, {sa_family=AF_UNIX, sun_path=\"written\"}, 110)", fd);
	size = 5;
	memset(&from, 'Z', sizeof(from));
	EXPECT(syscall(SYS_getsockname, fd, &from, &size), "getsockname(%d, {sa_family=AF_UNIX, sun_path=\"wri\"}, [5 => 10])", fd);
	EXPECT(syscall(SYS_getsockname, fd, &from, NULL), "getsockname(%d, %p, NULL)", fd, &from);
	size = 10;
	EXPECT(syscall(SYS_getpeername, fd, &from, &size), "getpeername(%d, %p, [10])", fd, &from);
	size = sizeof(option);
	EXPECT(syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_ERROR, &option, &size), "getsockopt(%d, SOL_SOCKET, SO_ERROR, [0], [16 => 4])", fd);
	EXPECT(syscall(SYS_sendto, fd, "hey", 3, 0, &address, sizeof(address)), "sendto(%d, \"hey\", 3, 0, {sa_family=AF_UNIX, sun_path=\"written\"}, 110)", fd);
	size = sizeof(from);
	EXPECT(syscall(SYS_recvfrom, fd, buffer, 8, 0, &from, &size), "recvfrom(%d, \"hey\", 8, 0, {sa_family=AF_UNIX, sun_path=\"written\"}, [110 => 10])", fd);
	size = 7;
	EXPECT(syscall(SYS_recvfrom, fd, buffer, 8, MSG_DONTWAIT, &from, &size), "recvfrom(%d, %p, 8, MSG_DONTWAIT, %p, [7])", fd, buffer, &from);
}

static void message(void)
{
	struct sockaddr_un address = { AF_UNIX, "written" }, from;
	struct iovec iov = { (char[8]){}, 8 };
	struct msghdr header = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1 };
	int fd = EXPECT(syscall(SYS_socket, AF_UNIX, SOCK_DGRAM, 0), "socket(AF_UNIX, SOCK_DGRAM, 0)");

	EXPECT(syscall(SYS_bind, fd, &address, offsetof(struct sockaddr_un, sun_path)), "bind(%d, {sa_family=AF_UNIX}, 2)", fd);
	EXPECT(syscall(SYS_recvmsg, fd, &header, MSG_DONTWAIT), "recvmsg(%d, {msg_namelen=110}, MSG_DONTWAIT)", fd);
	address.sun_path[0] = 'W';
	fd = EXPECT(syscall(SYS_socket, AF_UNIX, SOCK_DGRAM, 0), "socket(AF_UNIX, SOCK_DGRAM, 0)");
	EXPECT(syscall(SYS_bind, fd, &address, sizeof(address)), "bind(%d, {sa_family=AF_UNIX, sun_path=\"Written\"}, 110)", fd);
	EXPECT(syscall(SYS_sendto, fd, "hey", 3, 0, &address, sizeof(address)), "sendto(%d, \"hey\", 3, 0, {sa_family=AF_UNIX, sun_path=\"Written\"}, 110)", fd);
	EXPECT(syscall(SYS_recvmsg, fd, &header, 0), "recvmsg(%d, {msg_name={sa_family=AF_UNIX, sun_path=\"Written\"}, msg_namelen=110 => 10, "
	       "msg_iov=[{iov_base=\"hey\", iov_len=8}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0)", fd);
}

static void on_alarm(int number)
{
}

/* glibc's sleep() is given one time for both: how long, and what was left. */
static void slept(void)
{
	struct pair time = { 1, 5 };
	struct sigaction action = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &action, NULL);
	ualarm(20000, 20000);	/* again and again: the first may come before the call */
	syscall(SYS_nanosleep, &time, &time);
	ualarm(0, 0);
	say("nanosleep({tv_sec=1, tv_nsec=5}, {tv_sec=%ld, tv_nsec=%ld}) = ? ERESTART_RESTARTBLOCK (Interrupted by signal)\n", time.sec, time.rest);
}

int main(int argc, char **argv)
{
	int pipes[2];

	if (pipe(pipes))
		return 1;
	/* A kernel without CONFIG_COMPAT_32BIT_TIME has none of these calls for a 32-bit program. */
	if (syscall(SYS_pselect6, 0, NULL, NULL, NULL, &(struct pair){ 0, 0 }, NULL) < 0 && errno == ENOSYS)
		return close(creat(NAME ".untried", 0600));
	unlink("written");
	unlink("Written");
	begin(NAME);
	sets(pipes[0], pipes[1]);
	polled(pipes[1]);
	offsets(pipes[1]);
	lengths();
	message();
	finish(NAME, argv[argc - 1]);
	begin(NAME "-sleep");
	slept();
	finish(NAME "-sleep", NAME "-sleep.expected");
	return 0;
}
