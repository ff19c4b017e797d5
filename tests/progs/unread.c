// SPDX-License-Identifier: GPL-2.0-only
/*
 * A sandbox of its own refuses calls before the kernel has looked at what they are given, which lies in pages that nobody has touched: ./unread FILE.
 * With `stuck` behind it, one page more is never brought by whoever is to bring it (userfaultfd). It ends when standard input does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096
#define REFUSE(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1)

static int file;
static off_t end;

/* The bytes in a page of a mapping of its own, which has not been touched. */
static void *untouched(const void *bytes, size_t size)
{
	void *page;

	if (pwrite(file, bytes, size, end) != (ssize_t)size || ftruncate(file, end + PAGE))
		exit(1);
	page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, end);
	end += PAGE;
	return page == MAP_FAILED ? NULL : page;
}

static char *text(const char *string)
{
	return untouched(string, strlen(string) + 1);
}

static void *nobodys(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	range.range.start = (unsigned long)page;
	range.range.len = PAGE;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range))
		exit(77);
	return page;
}

static void *vector(const char *first, const char *second)
{
	struct iovec parts[2] = { { text(first), strlen(first) }, { text(second), strlen(second) } };

	return untouched(parts, sizeof(parts));
}

static struct msghdr message(void *name, const char *first, const char *second)
{
	struct msghdr message = { .msg_name = name, .msg_namelen = sizeof(struct sockaddr_in), .msg_iov = vector(first, second), .msg_iovlen = 2 };

	return message;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		REFUSE(SYS_open), REFUSE(SYS_symlink), REFUSE(SYS_connect), REFUSE(SYS_execve), REFUSE(SYS_rmdir),
		REFUSE(SYS_writev), REFUSE(SYS_sendmsg), REFUSE(SYS_sendmmsg),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
	char *path, *from, *to, *command, *arguments[3] = {}, *there = "/x/there", *stuck = NULL, byte;
	struct mmsghdr several[2] = {};
	struct msghdr one, *touched;
	void *peer, *parts, *messages;

	file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
	path = text("/x/secret");
	from = text("/x/from");
	to = text("/x/to");
	command = text("/x/command");
	arguments[0] = text("command");
	arguments[1] = text("--option");
	peer = untouched(&address, sizeof(address));
	parts = vector("one", "two");
	one = message(untouched(&address, sizeof(address)), "three", "four");
	touched = &one;		/* the header itself is here */
	several[0].msg_hdr = message(NULL, "five", "six");
	several[1].msg_hdr = message(NULL, "seven", "eight");
	messages = untouched(several, sizeof(several));
	if (argc > 2)
		stuck = nobodys();
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	if (stuck)
		syscall(SYS_rmdir, stuck);
	syscall(SYS_open, path, O_RDONLY);
	syscall(SYS_symlink, from, to);
	syscall(SYS_connect, 3, peer, sizeof(address));
	syscall(SYS_execve, command, arguments, NULL);
	syscall(SYS_writev, 3, parts, 2);
	syscall(SYS_sendmsg, 3, touched, 0);
	syscall(SYS_sendmmsg, 3, messages, 2, 0);
	*(volatile char *)there;
	syscall(SYS_open, there, O_RDONLY);
	syscall(SYS_chdir, (char *)8);
	while (read(0, &byte, 1) > 0)
		;
	return 0;
}
