// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ways round a rule that refuses reading FILE: each is tried, and a line says whether it got through.
 *
 *	escape FILE DIRECTORY PORT [SOCKET [LISTENER]]
 *
 * FILE is what is refused, DIRECTORY a place that is not, on the same file system; the connections go to 127.0.0.1:PORT, which is refused too.
 * Through the descriptor SOCKET, a unix socket, somebody else has sent a descriptor of FILE. LISTENER is the file of a unix socket, on the same file
 * system as DIRECTORY, that is refused as well.
 *
 * A line is `NAME through`, `NAME refused ERRNO`, or `NAME untried ERRNO` where this kernel or file system does not know the way. The program waits
 * for a line on its standard input before it begins.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define RACES 100000

static const char *target, *place, *listener;
static int port, received = -1;
static char spare[4096], root[4096];

static int done(int fd)
{
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int by_open(void) { return done(syscall(SYS_open, target, O_RDONLY)); }
static int by_openat(void) { return done(openat(AT_FDCWD, target, O_RDONLY)); }
static int by_creat(void) { return done(syscall(SYS_creat, target, 0600)); }

static int by_openat2(void)
{
	struct open_how how = {.flags = O_RDONLY};

	return done(syscall(SYS_openat2, AT_FDCWD, target, &how, sizeof(how)));
}

static int by_int80(void)
{
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long result;

	strcpy(low, target);
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(5L), "b"(low), "c"(0L), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
	if ((int)result >= 0)
		close((int)result);
	return (int)result >= 0 ? 0 : (int)result;
}

static int by_x32(void)
{
	long fd = syscall(0x40000000 | SYS_openat, AT_FDCWD, target, O_RDONLY);

	return done(fd);
}

static int by_o_path(void)
{
	int fd = open(target, O_PATH), result;
	char name[64];

	if (fd < 0)
		return -errno;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	result = done(open(name, O_RDONLY));
	close(fd);
	return result;
}

static int by_handle(void)
{
	char room[sizeof(struct file_handle) + 128];
	struct file_handle *handle = (void *)room;
	int mount, id, result;

	handle->handle_bytes = 128;
	if (name_to_handle_at(AT_FDCWD, target, handle, &id, 0))
		return -ENOSYS;
	mount = open(place, O_RDONLY | O_DIRECTORY);
	if (mount < 0)
		return -errno;
	result = done(open_by_handle_at(mount, handle, O_RDONLY));
	close(mount);
	return result;
}

static int by_proc_root(void)
{
	snprintf(root, sizeof(root), "/proc/self/root%s", target);
	return done(open(root, O_RDONLY));
}

static int by_symlink(void)
{
	int result;

	snprintf(spare, sizeof(spare), "%s/symlink", place);
	if (symlink(target, spare))
		return -ENOSYS;
	result = done(open(spare, O_RDONLY));
	unlink(spare);
	return result;
}

static int by_link(void)
{
	snprintf(spare, sizeof(spare), "%s/link", place);
	if (link(target, spare))
		return -errno;
	return done(open(spare, O_RDONLY));
}

static int by_rename(void)
{
	int result;

	snprintf(spare, sizeof(spare), "%s/renamed", place);
	if (rename(target, spare))
		return -errno;
	result = done(open(spare, O_RDONLY));
	rename(spare, target);
	return result;
}

static int by_exchange(void)
{
	int result;

	snprintf(spare, sizeof(spare), "%s/other", place);
	close(open(spare, O_CREAT | O_WRONLY, 0600));
	if (syscall(SYS_renameat2, AT_FDCWD, spare, AT_FDCWD, target, 2))
		return -errno;
	result = done(open(spare, O_RDONLY));
	syscall(SYS_renameat2, AT_FDCWD, spare, AT_FDCWD, target, 2);
	return result;
}

/* By a descriptor of the directory, as such and through /proc. */
static int directory_of_target(void)
{
	snprintf(root, sizeof(root), "%s", target);
	*strrchr(root, '/') = 0;
	return open(root, O_PATH | O_DIRECTORY);
}

static int by_dirfd(void)
{
	int directory = directory_of_target(), result;

	if (directory < 0)
		return -errno;
	result = done(openat(directory, strrchr(target, '/') + 1, O_RDONLY));
	close(directory);
	return result;
}

static int by_proc_fd(void)
{
	int directory = directory_of_target(), result;

	if (directory < 0)
		return -errno;
	snprintf(root, sizeof(root), "/proc/self/fd/%d%s", directory, strrchr(target, '/'));
	result = done(open(root, O_RDONLY));
	close(directory);
	return result;
}

/* A copy of the directory's mount that hangs nowhere. */
static int by_open_tree(void)
{
	int directory = directory_of_target(), tree, result;

	if (directory < 0)
		return -errno;
	tree = syscall(SYS_open_tree, directory, "", 1 | O_CLOEXEC | AT_EMPTY_PATH);
	close(directory);
	if (tree < 0)
		return -ENOSYS;
	result = done(openat(tree, strrchr(target, '/') + 1, O_RDONLY));
	close(tree);
	return result;
}

static void *opener(void *result)
{
	*(int *)result = by_open();
	return NULL;
}

static int by_thread(void)
{
	pthread_t thread;
	int result;

	if (pthread_create(&thread, NULL, opener, &result))
		return -ENOSYS;
	pthread_join(thread, NULL);
	return result;
}

/* A descriptor that a process outside has opened and sent. */
static int by_passed(void)
{
	char room[CMSG_SPACE(sizeof(int))], byte;
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
	struct cmsghdr *head;
	int fd, result;

	if (received < 0)
		return -ENOSYS;
	if (recvmsg(received, &message, 0) < 0)
		return -errno;
	head = CMSG_FIRSTHDR(&message);
	if (!head)
		return -EPERM;
	memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	result = read(fd, &byte, 1) < 0 ? -errno : 0;
	close(fd);
	return result;
}

/* What a child's exit status says: 0 through, else the errno. */
static int in_child(int (*way)(void))
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(-way() & 0xff);
	waitpid(pid, &status, 0);
	return -WEXITSTATUS(status);
}

/* Another program, that lies in no directory. */
static int executed(void)
{
	char *words[] = {"escape", "--open", (char *)target, NULL}, *nothing[] = {NULL};
	int self = open("/proc/self/exe", O_RDONLY), memory = syscall(SYS_memfd_create, "program", 0);
	struct stat status;

	if (self < 0 || fstat(self, &status))
		return -errno;
	if (sendfile(memory, self, NULL, status.st_size) != status.st_size)
		return -ENOSYS;
	fexecve(memory, words, nothing);
	return -errno;
}

static int by_memfd(void) { return in_child(executed); }

static int rooted(void)
{
	if (chdir("/") || unshare(CLONE_FS) || directory_of_target() < 0)
		return -errno;
	if (chroot(root))
		return -errno;
	return done(open(strrchr(target, '/'), O_RDONLY));
}

static int by_chroot(void) { return in_child(rooted); }

static int mounted(void)
{
	char directory[4096];

	snprintf(directory, sizeof(directory), "%s", target);
	*strrchr(directory, '/') = 0;
	if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return -ENOSYS;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mkdir(spare, 0700) || mount(directory, spare, NULL, MS_BIND, NULL))
		return -ENOSYS;
	strcat(spare, strrchr(target, '/'));
	return done(open(spare, O_RDONLY));
}

static int by_bind_mount(void)
{
	int result;

	snprintf(spare, sizeof(spare), "%s/mounted", place);
	result = in_child(mounted);
	rmdir(spare);
	return result;
}

static int grandchild(void) { return in_child(by_open); }
static int by_double_fork(void) { return in_child(grandchild); }

static int by_clone_parent(void)
{
	int ends[2], result = -EIO;
	long pid;

	if (pipe(ends))
		return -ENOSYS;
	pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		return -ENOSYS;
	if (pid == 0) {
		result = by_open();
		_exit(write(ends[1], &result, sizeof(result)) < 0);
	}
	if (read(ends[0], &result, sizeof(result)) < 0)
		result = -errno;
	close(ends[0]);
	close(ends[1]);
	return result;
}

static int by_orphan(void)
{
	int ends[2], result = -EIO;
	pid_t pid;

	if (pipe(ends))
		return -ENOSYS;
	pid = fork();
	if (pid == 0) {
		if (fork() == 0) {
			while (getppid() != 1 && getppid() == getpgid(0))
				sched_yield();
			usleep(20000);
			result = by_open();
			_exit(write(ends[1], &result, sizeof(result)) < 0);
		}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	if (read(ends[0], &result, sizeof(result)) < 0)
		result = -errno;
	close(ends[0]);
	close(ends[1]);
	return result;
}

/* ---- io_uring, by its raw calls ----------------------------------------------------------------------------- */

struct ring {
	int fd;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
	struct io_uring_params params;
};

static int ring_open(struct ring *ring)
{
	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(SYS_io_uring_setup, 4, &ring->params);
	if (ring->fd < 0)
		return -errno;
	ring->sq = mmap(NULL, ring->params.sq_off.array + ring->params.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	ring->cq = mmap(NULL, ring->params.cq_off.cqes + ring->params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_CQ_RING);
	ring->sqes = mmap(NULL, ring->params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQES);
	return ring->sq == MAP_FAILED || ring->cq == MAP_FAILED || ring->sqes == MAP_FAILED ? -ENOSYS : 0;
}

static int ring_do(struct ring *ring, struct io_uring_sqe *sqe)
{
	unsigned *tail = (unsigned *)(ring->sq + ring->params.sq_off.tail);
	struct io_uring_cqe *cqe;

	ring->sqes[0] = *sqe;
	*(unsigned *)(ring->sq + ring->params.sq_off.array) = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -errno;
	cqe = (void *)(ring->cq + ring->params.cq_off.cqes);
	return cqe->res;
}

static int ring_open_file(unsigned flags)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (unsigned long)target, .flags = flags};
	struct ring ring;
	int result = ring_open(&ring);

	if (!result)
		result = ring_do(&ring, &sqe);
	close(ring.fd);
	if (result >= 0)
		close(result);
	return result < 0 ? result : 0;
}

static int by_ring_open(void) { return ring_open_file(0); }
static int by_ring_worker(void) { return ring_open_file(IOSQE_ASYNC); }

static struct sockaddr_in refused_address(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	return address;
}

static int by_connect(void)
{
	struct sockaddr_in address = refused_address();
	int fd = socket(AF_INET, SOCK_STREAM, 0), result = connect(fd, (void *)&address, sizeof(address)) ? -errno : 0;

	close(fd);
	return result;
}

static int by_connect_mapped(void)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM, 0), result;

	inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr);
	result = connect(fd, (void *)&address, sizeof(address)) ? -errno : 0;
	close(fd);
	return result == -EAFNOSUPPORT || result == -EBADF ? -ENOSYS : result;
}

static int by_fastopen(void)
{
	struct sockaddr_in address = refused_address();
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int result = sendto(fd, "x", 1, MSG_FASTOPEN, (void *)&address, sizeof(address)) < 0 ? -errno : 0;

	close(fd);
	return result == -EOPNOTSUPP ? -ENOSYS : result;
}

static int by_ring_connect(void)
{
	struct sockaddr_in address = refused_address();
	struct io_uring_sqe sqe = {.opcode = IORING_OP_CONNECT, .addr = (unsigned long)&address, .off = sizeof(address)};
	struct ring ring;
	int result = ring_open(&ring);

	if (result)
		return result;
	sqe.fd = socket(AF_INET, SOCK_STREAM, 0);
	result = ring_do(&ring, &sqe);
	close(sqe.fd);
	close(ring.fd);
	return result;
}

static int connect_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), result;

	if (!listener)
		return -ENOSYS;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	result = connect(fd, (void *)&address, sizeof(address)) ? -errno : 0;
	close(fd);
	return result;
}

static int by_unix(void) { return connect_unix(listener); }

static int by_unix_link(void)
{
	snprintf(spare, sizeof(spare), "%s/socket", place);
	if (listener && link(listener, spare))
		return -errno;
	return connect_unix(spare);
}

static int by_unix_rename(void)
{
	int result;

	snprintf(spare, sizeof(spare), "%s/moved", place);
	if (listener && rename(listener, spare))
		return -errno;
	result = connect_unix(spare);
	if (listener)
		rename(spare, listener);
	return result;
}

static int by_unix_fd(void)
{
	int fd = listener ? open(listener, O_PATH) : -1, result;
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	result = connect_unix(name);
	close(fd);
	return result;
}

static int by_unix_ring(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct io_uring_sqe sqe = {.opcode = IORING_OP_CONNECT, .addr = (unsigned long)&address, .off = sizeof(address)};
	struct ring ring;
	int result = listener ? ring_open(&ring) : -ENOSYS;

	if (result)
		return result;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", listener);
	sqe.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	result = ring_do(&ring, &sqe);
	close(sqe.fd);
	close(ring.fd);
	return result;
}

/* A thread changes the path between an allowed and the refused file while the call looks at it. */
static volatile int racing = 1;
static char raced[4096];

static void *changer(void *end)
{
	while (racing) {
		memcpy(raced, target, strlen(target) + 1);
		memcpy(raced, spare, strlen(spare) + 1);
	}
	return end;
}

static int by_race(void)
{
	struct stat wanted, got;
	pthread_t thread;
	int fd, i, result = -EPERM;

	snprintf(spare, sizeof(spare), "%s/allowed", place);
	close(open(spare, O_CREAT | O_WRONLY, 0600));
	if (stat(target, &wanted) || pthread_create(&thread, NULL, changer, NULL))
		return -ENOSYS;
	for (i = 0; i < RACES && result; i++) {
		fd = open(raced, O_RDONLY);
		if (fd < 0)
			continue;
		fstat(fd, &got);
		if (got.st_ino == wanted.st_ino && got.st_dev == wanted.st_dev)
			result = 0;
		close(fd);
	}
	racing = 0;
	pthread_join(thread, NULL);
	return result;
}

static const struct way {
	const char *name;
	int (*try)(void);
} ways[] = {
	{"open", by_open}, {"openat", by_openat}, {"openat2", by_openat2}, {"creat", by_creat}, {"int80", by_int80}, {"x32", by_x32},
	{"o_path", by_o_path}, {"handle", by_handle}, {"proc_root", by_proc_root}, {"symlink", by_symlink}, {"link", by_link},
	{"rename", by_rename}, {"exchange", by_exchange}, {"bind_mount", by_bind_mount}, {"double_fork", by_double_fork},
	{"dirfd", by_dirfd}, {"proc_fd", by_proc_fd}, {"open_tree", by_open_tree}, {"chroot", by_chroot}, {"thread", by_thread},
	{"memfd", by_memfd}, {"passed", by_passed},
	{"clone_parent", by_clone_parent}, {"orphan", by_orphan}, {"ring_open", by_ring_open}, {"ring_worker", by_ring_worker},
	{"connect", by_connect}, {"connect_mapped", by_connect_mapped}, {"fastopen", by_fastopen}, {"ring_connect", by_ring_connect},
	{"unix", by_unix}, {"unix_link", by_unix_link}, {"unix_rename", by_unix_rename}, {"unix_fd", by_unix_fd}, {"unix_ring", by_unix_ring},
	{"race", by_race},
};

int main(int argc, char **argv)
{
	unsigned i;

	if (argc == 3 && !strcmp(argv[1], "--open")) {
		target = argv[2];
		return -by_open();
	}
	if (argc < 4 || argc > 6)
		return 2;
	if (argc > 4)
		received = atoi(argv[4]);
	if (argc > 5)
		listener = argv[5];
	target = argv[1];
	place = argv[2];
	port = atoi(argv[3]);
	if (getchar() == EOF)
		return 2;
	for (i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		int result = ways[i].try();

		if (result >= 0)
			printf("%s through\n", ways[i].name);
		else
			printf("%s %s %s\n", ways[i].name, result == -ENOSYS ? "untried" : "refused", strerrorname_np(-result));
		fflush(stdout);
	}
	return 0;
}
