/* SPDX-License-Identifier: GPL-2.0-only */
/* A 32-bit program: its calls have i386's numbers, names, arguments in halves and structures. */
#include "expect.h"
#include <sys/mman.h>
#include <sys/uio.h>

int main(int argc, char **argv)
{
	struct iovec give[] = { { "one", 3 }, { "two", 3 } };
	int32_t fds[2];
	char buffer[8];

	begin("native32");
	EXPECT(syscall(SYS_getpid), "getpid()");
	EXPECT(syscall(SYS_open, "file32", O_RDWR | O_CREAT, 0600), "open(\"file32\", O_RDWR|O_CREAT, 0600)");
	EXPECT(syscall(SYS_pwrite64, 3, "data", 4, 0, 1), "pwrite64(3, \"data\", 4, 4294967296)");
	EXPECT(syscall(SYS_ftruncate64, 3, 5, 0), "ftruncate64(3, 5)");
	EXPECT(syscall(SYS_pread64, 3, buffer, 2, 1, 0), "pread64(3, \"\\0\\0\", 2, 1)");
	EXPECT(syscall(SYS_pipe, fds), "pipe([4, 5])");
	EXPECT(syscall(SYS_writev, 5, give, 2), "writev(5, [{iov_base=\"one\", iov_len=3}, {iov_base=\"two\", iov_len=3}], 2)");
	EXPECT(syscall(SYS_read, 4, buffer, 8), "read(4, \"onetwo\", 8)");
	EXPECT(syscall(SYS_access, "missing", F_OK), "access(\"missing\", F_OK)");
	EXPECT(syscall(SYS_getuid32), "getuid32()");
	EXPECT(syscall(SYS_unlink, "file32"), "unlink(\"file32\")");
	finish("native32", argv[argc - 1]);
	return 0;
}
