// SPDX-License-Identifier: GPL-2.0-only
/* Work that io_uring does: inline, by a worker, by a polling thread, or at the exit of another call. */
#include "attack.h"
#include <arpa/inet.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

struct ring {
	int fd;
	char *submitted, *completed;
	struct io_uring_sqe *entries;
	struct io_uring_params p;
};

static void *mapped(struct ring *ring, size_t bytes, off_t what)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, what);
}

static int ring_open(struct ring *ring, unsigned flags)
{
	memset(ring, 0, sizeof(*ring));
	ring->p.flags = flags;
	ring->p.sq_thread_idle = 20000;	/* ms */
	ring->fd = syscall(SYS_io_uring_setup, 8, &ring->p);
	if (ring->fd < 0)
		return -1;
	ring->submitted = mapped(ring, ring->p.sq_off.array + ring->p.sq_entries * 4, IORING_OFF_SQ_RING);
	ring->completed = mapped(ring, ring->p.cq_off.cqes + ring->p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	ring->entries = mapped(ring, ring->p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	return 0;
}

static void ring_put(struct ring *ring, const struct io_uring_sqe *entries, int count)
{
	unsigned *tail = (unsigned *)(ring->submitted + ring->p.sq_off.tail), at = *tail;
	unsigned *array = (unsigned *)(ring->submitted + ring->p.sq_off.array);
	unsigned mask = *(unsigned *)(ring->submitted + ring->p.sq_off.ring_mask);

	for (int i = 0; i < count; i++, at++) {
		ring->entries[at & mask] = entries[i];
		array[at & mask] = at & mask;
	}
	__atomic_store_n(tail, at, __ATOMIC_RELEASE);
}

static int ring_got(struct ring *ring, unsigned long wanted, int *result)
{
	unsigned tail = __atomic_load_n((unsigned *)(ring->completed + ring->p.cq_off.tail), __ATOMIC_ACQUIRE);
	unsigned mask = *(unsigned *)(ring->completed + ring->p.cq_off.ring_mask);

	for (unsigned at = *(unsigned *)(ring->completed + ring->p.cq_off.head); at != tail; at++) {
		struct io_uring_cqe *entry = (struct io_uring_cqe *)(ring->completed + ring->p.cq_off.cqes) + (at & mask);

		if (entry->user_data != wanted)
			continue;
		*result = entry->res;
		return 1;
	}
	return 0;
}

static int listener(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {4, filter};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static void nothing(int number)
{
	(void)number;
}

static void wake_later(unsigned seconds)
{
	struct sigaction act = {.sa_handler = nothing};

	sigaction(SIGALRM, &act, NULL);
	alarm(seconds);
}

static void fill(int fd, int end)
{
	char page[4096] = {0};

	if ((end ? write(fd, page, sizeof(page)) : read(fd, page, sizeof(page))) < 0)
		_exit(UNTRIED);
}

/* In a child: what the polled pipe waits for, and later what the call of the parent waits for. */
static void meanwhile(int due, int *pipe_of_call, const char *call)
{
	if (fork())
		return;
	usleep(300000);
	if (write(due, "x", 1) < 0)
		_exit(1);
	usleep(700000);
	if (!strcmp(call, "read") && write(pipe_of_call[1], "y", 1) < 0)
		_exit(1);
	if (!strcmp(call, "write"))
		fill(pipe_of_call[0], 0);
	_exit(0);
}

static void sleep_in(const char *call, int *ends, int notified)
{
	char room[512] = {0};

	if (!strcmp(call, "read") && read(ends[0], room, 1) < 0)
		SAY("read: %s", strerror(errno));
	if (!strcmp(call, "write") && write(ends[1], "z", 1) < 0)
		SAY("write: %s", strerror(errno));
	if (!strcmp(call, "ioctl")) {
		wake_later(2);
		SAY("ioctl: %d", ioctl(notified, SECCOMP_IOCTL_NOTIF_RECV, room));
	}
	if (!strcmp(call, "nanosleep"))
		nanosleep(&(struct timespec){2, 0}, NULL);
}

/* The work hangs on a poll, and becomes due while this task is in another call: read, write, ioctl or nanosleep. */
static int linked(const char *what, const struct io_uring_sqe *work, const char *call)
{
	struct io_uring_sqe entries[2] = {{.opcode = IORING_OP_POLL_ADD, .poll32_events = POLLIN, .flags = IOSQE_IO_LINK, .user_data = 1}};
	int due[2], ends[2], notified = -1, result;
	struct ring ring;

	if (ring_open(&ring, 0))
		return verdict("io_uring_setup", -1);
	if (pipe(due) || pipe(ends) || (!strcmp(call, "ioctl") && (notified = listener()) < 0))
		return UNTRIED;
	fcntl(ends[1], F_SETPIPE_SZ, 4096);
	if (!strcmp(call, "write"))
		fill(ends[1], 1);
	meanwhile(due[1], ends, call);
	entries[0].fd = due[0];
	entries[1] = *work;
	entries[1].user_data = 2;
	ring_put(&ring, entries, 2);
	if (syscall(SYS_io_uring_enter, ring.fd, 2, 0, 0, NULL, 0) != 2)
		return verdict("io_uring_enter", -1);
	sleep_in(call, ends, notified);
	for (int i = 0; i < 200 && !ring_got(&ring, 2, &result); i++)
		usleep(10000);
	if (!ring_got(&ring, 2, &result)) {
		SAY("%s: not done", what);
		return REFUSED;
	}
	errno = -result;
	return verdict(what, result < 0 ? -1 : 0);
}

/* ADDRESS PORT CALL */
static int linked_connect(char **a)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(a[1]))};
	struct io_uring_sqe work = {.opcode = IORING_OP_CONNECT, .addr = (unsigned long)&to, .off = sizeof(to)};

	inet_pton(AF_INET, a[0], &to.sin_addr);
	work.fd = socket(AF_INET, SOCK_STREAM, 0);
	return linked("linked CONNECT", &work, a[2]);
}

/* FILE CALL */
static int linked_open(char **a)
{
	struct io_uring_sqe work = {.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (unsigned long)a[0]};

	return linked("linked OPENAT", &work, a[1]);
}

static int submit(struct ring *ring, int polled, unsigned long wanted, int *result)
{
	if (!polled)
		return syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	for (int i = 0; i < 3000 && !ring_got(ring, wanted, result); i++) {
		usleep(10000);
		if (i % 100 == 99)	/* it sleeps, or has not begun: on a busy machine that takes long */
			syscall(SYS_io_uring_enter, ring->fd, 1, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
	}
	return 0;
}

static int opened(struct ring *ring, const char *file, unsigned flags, int polled)
{
	struct io_uring_sqe work = {.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (unsigned long)file, .user_data = 2, .flags = flags};
	int result;

	ring_put(ring, &work, 1);
	if (submit(ring, polled, 2, &result) < 0)
		return verdict("io_uring_enter", -1);
	if (!ring_got(ring, 2, &result)) {
		SAY("no completion");
		return REFUSED;
	}
	errno = -result;
	return shows("opened by the ring", result < 0 ? -1 : result);
}

/* FILE [inline|async|sqpoll] */
static int ring_opens(char **a)
{
	int polled = a[1] && !strcmp(a[1], "sqpoll");
	struct ring ring;

	if (ring_open(&ring, polled ? IORING_SETUP_SQPOLL : 0))
		return verdict("io_uring_setup", -1);
	return opened(&ring, a[0], a[1] && !strcmp(a[1], "async") ? IOSQE_ASYNC : 0, polled);
}

/*
 * FILE [inline|sqpoll]: with a ring that was there before the rule; the line comes after it. A thread that polls sleeps until its first work, and
 * to wake it takes a call that the rule refuses: so it has some, and then polls for a while.
 */
static int ring_from_before(char **a)
{
	int polled = a[1] && !strcmp(a[1], "sqpoll");
	struct io_uring_sqe nothing = {.opcode = IORING_OP_NOP, .user_data = 1};
	struct ring ring;
	char line[16];
	int result;

	if (ring_open(&ring, polled ? IORING_SETUP_SQPOLL : 0))
		return verdict("io_uring_setup", -1);
	if (polled) {
		ring_put(&ring, &nothing, 1);
		submit(&ring, polled, 1, &result);
		if (!ring_got(&ring, 1, &result))
			return UNTRIED;
	}
	SAY("ready");
	if (!fgets(line, sizeof(line), stdin))
		return 2;
	return opened(&ring, a[0], 0, polled);
}

/* FILE NAME: under that name, so that a rule on it concerns this thread, and a worker opens. */
static int worker_under_name(char **a)
{
	char *arguments[] = {a[0], "async", NULL};

	prctl(PR_SET_NAME, a[1]);
	SAY("direct: %s", open(a[0], O_RDONLY) < 0 ? strerror(errno) : "allowed");
	return ring_opens(arguments);
}

ATTACKS({"linked_connect", linked_connect, 3}, {"linked_open", linked_open, 2}, {"ring_opens", ring_opens, 1},
	{"ring_from_before", ring_from_before, 1}, {"worker_under_name", worker_under_name, 2})
