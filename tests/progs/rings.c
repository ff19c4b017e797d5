// SPDX-License-Identifier: GPL-2.0-only
/*
 * Operations of io_uring: rings WHAT FILE writes to FILE the lines that a trace of them must have, without marks of when an argument was read. A line that
 * begins with ! is of what the kernel cannot even begin, one with ~ of one of several under way by the same name: not every kernel tells of these.
 */
#include "expect.h"
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SKIP_SUCCESS (1U << 6)	/* IOSQE_CQE_SKIP_SUCCESS, 5.17 */
#define FEATURE_SKIP (1U << 11)	/* IORING_FEAT_CQE_SKIP */
#define POLL_MULTISHOT 1	/* IORING_POLL_ADD_MULTI, 5.13 */
#define MORE 2			/* IORING_CQE_F_MORE */
#define ENTRIES 64

struct ring {
	int fd;
	char *submitted, *completed;
	struct io_uring_sqe *entries;
	struct io_uring_params p;
	unsigned head;		/* of what has completed */
};

static struct ring ring;

static void *mapped(size_t bytes, off_t what)
{
	void *found = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, what);

	if (found == MAP_FAILED)
		abort();
	return found;
}

static void set_up(unsigned flags, unsigned entries)
{
	memset(&ring, 0, sizeof(ring));
	ring.p.flags = flags;
	ring.p.sq_thread_idle = 20000;
	ring.fd = syscall(SYS_io_uring_setup, entries, &ring.p);
	if (ring.fd < 0) {
		perror("io_uring_setup");
		exit(77);
	}
	ring.submitted = mapped(ring.p.sq_off.array + ring.p.sq_entries * 4, IORING_OFF_SQ_RING);
	ring.completed = mapped(ring.p.cq_off.cqes + ring.p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	ring.entries = mapped(ring.p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
}

static unsigned *word(char *from, unsigned at)
{
	return (unsigned *)(from + at);
}

/* Puts `count` entries into the ring and tells the kernel. */
static void submit(const struct io_uring_sqe *entries, int count, unsigned wait)
{
	unsigned *tail = word(ring.submitted, ring.p.sq_off.tail), at = *tail, mask = *word(ring.submitted, ring.p.sq_off.ring_mask);
	unsigned *array = word(ring.submitted, ring.p.sq_off.array), flags = wait ? IORING_ENTER_GETEVENTS : 0;

	for (int i = 0; i < count; i++, at++) {
		ring.entries[at & mask] = entries[i];
		array[at & mask] = at & mask;
	}
	__atomic_store_n(tail, at, __ATOMIC_RELEASE);
	if (ring.p.flags & IORING_SETUP_SQPOLL)
		flags |= IORING_ENTER_SQ_WAKEUP;
	syscall(SYS_io_uring_enter, ring.fd, count, wait, flags, NULL, 0);
}

/* The next completion; waits for it. */
static struct io_uring_cqe next(void)
{
	unsigned *tail = word(ring.completed, ring.p.cq_off.tail), mask = *word(ring.completed, ring.p.cq_off.ring_mask);
	struct io_uring_cqe found;

	while (__atomic_load_n(tail, __ATOMIC_ACQUIRE) == ring.head)
		syscall(SYS_io_uring_enter, ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	found = ((struct io_uring_cqe *)(ring.completed + ring.p.cq_off.cqes))[ring.head++ & mask];
	__atomic_store_n(word(ring.completed, ring.p.cq_off.head), ring.head, __ATOMIC_RELEASE);
	return found;
}

static int one(struct io_uring_sqe entry)
{
	submit(&entry, 1, 1);
	return next().res;
}

static void say_ended(int result)
{
	if (result < 0)
		say(" = -1 %s (%s)", strerrorname_np(-result), strerror(-result));
	else
		say(" = %d", result);
}

/*
 * DO(beside, "text", …): asks for it alone, and expects the text with its result and what stands beside that. A kernel that has no such operation, or looks
 * for the descriptor first, refuses it before it begins.
 */
#define DO(beside, text, ...)                                                                     \
	({                                                                                        \
		int got = one((struct io_uring_sqe){__VA_ARGS__});                                \
		if (got == -EINVAL || got == -EBADF)                                              \
			say("!");                                                                 \
		say text;                                                                         \
		say_ended(got);                                                                   \
		say(" (%s)\n", beside);                                                           \
		got;                                                                              \
	})

#define PATH(path) .addr = (unsigned long)(path)
#define PATH2(path) .off = (unsigned long)(path)

static void files(void)
{
	char page[64] = "written";
	struct stat st;
	int fd;

	DO("user_data=0x1", ("io_uring:nop()"), .opcode = IORING_OP_NOP, .user_data = 1);
	DO("user_data=0x2", ("io_uring:openat(AT_FDCWD, \"missing\", O_RDONLY|O_LARGEFILE)"), .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD,
	   PATH("missing"), .user_data = 2);
	fd = DO("user_data=0x3", ("io_uring:openat(AT_FDCWD, \"file\", O_RDWR|O_CREAT|O_LARGEFILE, 0640)"), .opcode = IORING_OP_OPENAT,
		.fd = AT_FDCWD, PATH("file"), .open_flags = O_RDWR | O_CREAT, .len = 0640, .user_data = 3);
	DO("user_data=0x4", ("io_uring:write(%d, %p, 7, 0, 0)", fd, page), .opcode = IORING_OP_WRITE, .fd = fd, PATH(page), .len = 7,
	   .user_data = 4);
	DO("user_data=0x5, IOSQE_ASYNC", ("io_uring:read(%d, %p, 64, 2, 0)", fd, page), .opcode = IORING_OP_READ, .fd = fd, PATH(page),
	   .len = 64, .off = 2, .user_data = 5, .flags = IOSQE_ASYNC);
	DO("user_data=0x6", ("io_uring:fsync(%d, 0x1)", fd), .opcode = IORING_OP_FSYNC, .fd = fd, .fsync_flags = IORING_FSYNC_DATASYNC,
	   .user_data = 6);
	DO("user_data=0xffffffffffffffff", ("io_uring:close(%d)", fd), .opcode = IORING_OP_CLOSE, .fd = fd, .user_data = -1);
	DO("user_data=0x8", ("io_uring:read(%d, %p, 64, -1, 0)", fd, page), .opcode = IORING_OP_READ, .fd = fd, PATH(page), .len = 64,
	   .off = -1, .user_data = 8);
	DO("user_data=0x9", ("io_uring:renameat(AT_FDCWD, \"file\", AT_FDCWD, \"other\", RENAME_NOREPLACE)"), .opcode = IORING_OP_RENAMEAT,
	   .fd = AT_FDCWD, PATH("file"), .len = AT_FDCWD, PATH2("other"), .rename_flags = 1, .user_data = 9);
	DO("user_data=0xa", ("!io_uring:mkdirat(AT_FDCWD, \"\", 0700)"), .opcode = IORING_OP_MKDIRAT, .fd = AT_FDCWD, PATH(""), .len = 0700,
	   .user_data = 10);
	DO("user_data=0xb", ("io_uring:symlinkat(\"other\", AT_FDCWD, \"a\\nlink\")"), .opcode = IORING_OP_SYMLINKAT, .fd = AT_FDCWD,
	   PATH("other"), PATH2("a\nlink"), .user_data = 11);
	DO("user_data=0xc", ("io_uring:linkat(AT_FDCWD, \"other\", AT_FDCWD, \"second\", 0)"), .opcode = IORING_OP_LINKAT, .fd = AT_FDCWD,
	   PATH("other"), .len = AT_FDCWD, PATH2("second"), .user_data = 12);
	DO("user_data=0xd", ("io_uring:unlinkat(AT_FDCWD, \"second\", 0)"), .opcode = IORING_OP_UNLINKAT, .fd = AT_FDCWD, PATH("second"),
	   .user_data = 13);
	if (stat("other", &st) || st.st_size != 7)
		abort();
}

static void sockets(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	DO("user_data=0x1", ("io_uring:connect(%d, {sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr(\"127.0.0.1\")}, 16)", fd),
	   .opcode = IORING_OP_CONNECT, .fd = fd, PATH(&address), .off = sizeof(address), .user_data = 1);
	DO("user_data=0x2", ("io_uring:shutdown(%d, SHUT_RDWR)", fd), .opcode = IORING_OP_SHUTDOWN, .fd = fd, .len = 2, .user_data = 2);
}

/* A file that is known by its place in a table, and a chain of which the first fails. */
static void chains(void)
{
	int fds[2], zero = open("/dev/zero", O_RDONLY);
	char page[16];
	struct io_uring_sqe chain[] = {
		{.opcode = IORING_OP_READ, .fd = -1, PATH(page), .len = 16, .user_data = 2, .flags = IOSQE_IO_LINK},
		{.opcode = IORING_OP_NOP, .user_data = 3},
	};

	if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, &zero, 1))
		abort();
	DO("user_data=0x1, IOSQE_FIXED_FILE", ("io_uring:read(0 /* registered */, %p, 16, 0, 0)", page), .opcode = IORING_OP_READ, .fd = 0,
	   PATH(page), .len = 16, .user_data = 1, .flags = IOSQE_FIXED_FILE);
	submit(chain, 2, 2);
	next();
	next();
	say("io_uring:read(-1, %p, 16, 0, 0) = -1 EBADF (Bad file descriptor) (user_data=0x2, IOSQE_IO_LINK)\n", page);
	say("io_uring:nop() = -1 ECANCELED (Operation canceled) (user_data=0x3)\n");
	if (pipe(fds))
		abort();
	submit(&(struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = fds[0], PATH(page), .len = 16, .user_data = 4}, 1, 0);
	DO("user_data=0x5", ("io_uring:async_cancel(0x4, 0, 0)"), .opcode = IORING_OP_ASYNC_CANCEL, .addr = 4, .user_data = 5);
	say("io_uring:read(%d, %p, 16, 0, 0) = -1 ECANCELED (Operation canceled) (user_data=0x4)\n", fds[0], page);
}

/* One request that completes several times, and as many requests of one name. */
static void several(void)
{
	struct io_uring_sqe poll = {.opcode = IORING_OP_POLL_ADD, .poll_events = POLLIN, .len = POLL_MULTISHOT, .user_data = 7};
	struct io_uring_sqe same[4] = {[0 ... 3] = {.opcode = IORING_OP_NOP, .user_data = 0}};
	struct io_uring_cqe got;
	int fds[2];

	if (pipe(fds))
		abort();
	poll.fd = fds[0];
	submit(&poll, 1, 0);
	for (int i = 0; i < 3; i++) {
		if (write(fds[1], "x", 1) != 1)
			abort();
		got = next();
		say("io_uring:poll_add(%d, POLLIN, 0x1) = %d (user_data=0x7, IORING_CQE_F_MORE)\n", fds[0], got.res);
		if (got.res < 0 || !(got.flags & MORE))
			abort();
	}
	submit(same, 4, 4);
	for (int i = 0; i < 4; i++)
		next();
	say("~io_uring:nop() = 0 (user_data=0)\n");
	say("~io_uring:nop() = 0 (user_data=0)\n");
	say("~io_uring:nop() = 0 (user_data=0)\n");
	say("~io_uring:nop() = 0 (user_data=0)\n");
	say("io_uring:poll_add(%d, POLLIN, 0x1) = -1 ECANCELED (Operation canceled) (user_data=0x7)\n", fds[0]);
}

/* More completions than there is room for. */
static void overflow(void)
{
	struct io_uring_sqe entry = {.opcode = IORING_OP_NOP};

	for (int i = 1; i <= 7; i++) {
		entry.user_data = i;
		submit(&entry, 1, 0);
		say("io_uring:nop() = 0 (user_data=%#x)\n", i);
	}
	for (int i = 0; i < 7; i++)
		next();
}

/* Nobody is told of a success; what there is no such operation of, or cannot be as it stands. */
static void untold(void)
{
	if (ring.p.features & FEATURE_SKIP) {
		submit(&(struct io_uring_sqe){.opcode = IORING_OP_MKDIRAT, .fd = AT_FDCWD, PATH("made"), .len = 0755, .flags = SKIP_SUCCESS,
					      .user_data = 1}, 1, 0);
		while (access("made", F_OK))
			usleep(1000);
		say("io_uring:mkdirat(AT_FDCWD, \"made\", 0755) = ? (user_data=0x1, IOSQE_CQE_SKIP_SUCCESS)\n");
	}
	DO("user_data=0x2", ("!io_uring:unknown()"), .opcode = 250, .user_data = 2);
	DO("user_data=0x3", ("!io_uring:unlinkat(AT_FDCWD, \"made\", AT_REMOVEDIR|0x80)"), .opcode = IORING_OP_UNLINKAT, .fd = AT_FDCWD,
	   PATH("made"), .unlink_flags = AT_REMOVEDIR | 0x80, .user_data = 3);
}

/* The path is another as soon as the kernel has taken it: a worker opens the first. */
static void changed(void)
{
	char path[16] = "first";
	struct io_uring_sqe entry = {.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, PATH(path), .flags = IOSQE_ASYNC, .user_data = 1};

	close(open("first", O_WRONLY | O_CREAT, 0600));
	submit(&entry, 1, 0);
	strcpy(path, "second");
	memset(ring.entries, 0xff, ring.p.sq_entries * sizeof(struct io_uring_sqe));
	say("io_uring:openat(AT_FDCWD, \"first\", O_RDONLY|O_LARGEFILE)");
	say_ended(next().res);
	say(" (user_data=0x1, IOSQE_ASYNC)\n");
}

/* The ring's thread takes it. */
static void polled(void)
{
	DO("user_data=0x1, SQPOLL", ("io_uring:openat(AT_FDCWD, \"/dev/null\", O_RDONLY|O_LARGEFILE)"), .opcode = IORING_OP_OPENAT,
	   .fd = AT_FDCWD, PATH("/dev/null"), .user_data = 1);
}

/* What has not completed when the process ends. */
static void outlived(void)
{
	char page[16];
	int fds[2];

	if (pipe(fds))
		abort();
	submit(&(struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = fds[0], PATH(page), .len = 16, .user_data = 1}, 1, 0);
	say("io_uring:read(%d, %p, 16, 0, 0) = -1 ECANCELED (Operation canceled) (user_data=0x1)\n", fds[0], page);
}

/* It is asked for before anybody traces, and completes once standard input ends. */
static void before(void)
{
	char page[16];
	int fds[2];

	if (pipe(fds))
		abort();
	submit(&(struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = fds[0], PATH(page), .len = 16, .user_data = 1}, 1, 0);
	if (write(1, "ready\n", 6) != 6 || read(0, page, 1) < 0 || write(fds[1], "x", 1) != 1)
		abort();
	next();
	say("!io_uring:read(?, ?, ?, ?, ?) = 1 (user_data=0x1)\n");
}

static const struct {
	const char *name;
	void (*run)(void);
	unsigned flags, entries;
} scenes[] = {
	{"files", files, 0, ENTRIES},	{"sockets", sockets, 0, ENTRIES},   {"chains", chains, 0, ENTRIES},
	{"several", several, 0, ENTRIES}, {"overflow", overflow, 0, 2},	    {"untold", untold, 0, ENTRIES},
	{"changed", changed, 0, ENTRIES}, {"polled", polled, IORING_SETUP_SQPOLL, ENTRIES}, {"outlived", outlived, 0, ENTRIES},
	{"before", before, 0, ENTRIES},
};

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	for (size_t i = 0; i < LENGTH(scenes); i++) {
		if (strcmp(argv[1], scenes[i].name))
			continue;
		set_up(scenes[i].flags, scenes[i].entries);
		scenes[i].run();
		finish("rings", argv[2]);
		return 0;
	}
	return 2;
}
