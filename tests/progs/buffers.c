/* SPDX-License-Identifier: GPL-2.0-only */
/* Bytes that go in and out; the trace is made with a string limit of 32. */
#include "expect.h"
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define THIRTY_TWO "0123456789abcdef0123456789abcdef"

static char *unmapped;

static void plain(int in, int out)
{
	char buffer[64];

	EXPECT(write(out, "hello\n\0\377", 8), "write(%d, \"hello\\n\\0\\377\", 8)", out);
	EXPECT(write(out, "\0" "7\0x", 4), "write(%d, \"\\0007\\0x\", 4)", out);
	EXPECT(read(in, buffer, sizeof(buffer)), "read(%d, \"hello\\n\\0\\377\\0007\\0x\", 64)", in);
	EXPECT(write(out, THIRTY_TWO, 32), "write(%d, \"" THIRTY_TWO "\", 32)", out);
	EXPECT(write(out, THIRTY_TWO "!", 33), "write(%d, \"" THIRTY_TWO "\"..., 33)", out);
	EXPECT(read(in, buffer, 33), "read(%d, \"" THIRTY_TWO "\"..., 33)", in);
	EXPECT(read(in, buffer, 32), "read(%d, \"123456789abcdef0123456789abcdef!\", 32)", in);
	EXPECT(write(out, "", 0), "write(%d, \"\", 0)", out);
	EXPECT(read(-1, buffer, 5), "read(-1, %p, 5)", buffer);
}

static void faults(int in, int out)
{
	EXPECT(write(out, unmapped, 5), "write(%d, %p<fault>, 5)", out, unmapped);
	EXPECT(syscall(SYS_write, out, NULL, 5), "write(%d, NULL, 5)", out);
	EXPECT(write(out, "x", 1), "write(%d, \"x\", 1)", out);
	EXPECT(read(in, unmapped, 5), "read(%d, %p, 5)", in, unmapped);
	EXPECT(syscall(SYS_unlink, unmapped), "unlink(%p<fault>)", unmapped);
	EXPECT(syscall(SYS_unlink, NULL), "unlink(NULL)");
	EXPECT(syscall(SYS_unlink, ""), "unlink(\"\")");
}

static void vectors(int in, int out)
{
	char one[4], two[8];
	struct iovec give[] = { { "abc", 3 }, { NULL, 0 }, { "defgh", 5 } }, take[] = { { one, 4 }, { two, 8 } };
	off_t at = 2;

	EXPECT(writev(out, give, 3), "writev(%d, [{iov_base=\"abc\", iov_len=3}, {iov_base=NULL, iov_len=0}, {iov_base=\"defgh\", iov_len=5}], 3)", out);
	EXPECT(readv(in, take, 2), "readv(%d, [{iov_base=\"xabc\", iov_len=4}, {iov_base=\"defgh\", iov_len=8}], 2)", in);
	EXPECT(pwritev(out, give, 1, at), "pwritev(%d, [{iov_base=\"abc\", iov_len=3}], 1, 2)", out);
}

static void positions(void)
{
	char buffer[8];
	int fd = EXPECT(open("data", O_RDWR | O_CREAT, 0600), "openat(AT_FDCWD, \"data\", O_RDWR|O_CREAT, 0600)");

	EXPECT(pwrite(fd, "0123456789", 10, 5), "pwrite64(%d, \"0123456789\", 10, 5)", fd);
	EXPECT(pread(fd, buffer, 4, 7), "pread64(%d, \"2345\", 4, 7)", fd);
	EXPECT(pread(fd, buffer, 4, 700), "pread64(%d, \"\", 4, 700)", fd);
	EXPECT(lseek(fd, -3, SEEK_END), "lseek(%d, -3, SEEK_END)", fd);
	EXPECT(pread(fd, buffer, 4, -2), "pread64(%d, %p, 4, -2)", fd, buffer);
}

static void pairs(void)
{
	int fds[2];

	EXPECT(pipe2(fds, O_CLOEXEC), "pipe2([6, 7], O_CLOEXEC)");
	EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), "socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0, [8, 9])");
	EXPECT(dup2(8, 20), "dup2(8, 20)");
	EXPECT(dup3(8, 20, O_CLOEXEC), "dup3(8, 20, O_CLOEXEC)");
}

int main(int argc, char **argv)
{
	int fds[2];

	unmapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(unmapped, 4096);
	begin("buffers");
	EXPECT(syscall(SYS_pipe, fds), "pipe([3, 4])");
	plain(fds[0], fds[1]);
	faults(fds[0], fds[1]);
	vectors(fds[0], fds[1]);
	positions();
	pairs();
	finish("buffers", argv[argc - 1]);
	return 0;
}
