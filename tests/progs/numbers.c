/* SPDX-License-Identifier: GPL-2.0-only */
/* Call numbers that mean something else, or nothing: unknown ones, x32's, and int 0x80 with i386's from a 64-bit program. */
#include "expect.h"
#include <sys/mman.h>
#include <sys/wait.h>

static long call80(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
	if (result < 0 && result > -4096) {
		errno = -result;
		return -1;
	}
	return result;
}

/* A kernel without IA32 emulation answers int 0x80 with SIGSEGV. */
static int has_ia32(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(call80(20, 0, 0, 0) != getpid());
	waitpid(pid, &status, 0);
	return status == 0;
}

static void unknown(void)
{
	EXPECT(syscall(9999, 1, 2, 3, 4, 5, 0), "syscall_0x270f(0x1, 0x2, 0x3, 0x4, 0x5, 0)");
	EXPECT(syscall(-1, 1, 2, 3, 4, 5, 6), "syscall_0xffffffffffffffff(0x1, 0x2, 0x3, 0x4, 0x5, 0x6)");
	EXPECT(syscall(1000000, 1, 2, 3, 4, 5, 6), "syscall_0xf4240(0x1, 0x2, 0x3, 0x4, 0x5, 0x6)");
}

static void x32(void)
{
	EXPECT(syscall(0x40000000 | SYS_getppid), "getppid()");
	EXPECT(syscall(0x40000000 | SYS_unlink, "missing"), "unlink(\"missing\")");
}

/* A number has 32 bits: what is above them in the register is nothing to the kernel. */
static void upper_halves(void)
{
	for (int bit = 0; bit <= 32; bit++) {
		long above = (long)(bit < 32 ? 1ul << bit : 0xdeadbeef) << 32;

		EXPECT(syscall(above | SYS_getppid), "getppid()");
		EXPECT(syscall(above | SYS_open, "missing", O_RDONLY), "open(\"missing\", O_RDONLY)");
		EXPECT(syscall(above | 0x40000000 | SYS_getppid), "getppid()");
		EXPECT(syscall(above | 9999, 1, 2, 3, 4, 5, 0), "syscall_0x270f(0x1, 0x2, 0x3, 0x4, 0x5, 0)");
	}
}

static void i386(char *low)
{
	EXPECT(call80(20, 0, 0, 0), "getpid()");
	EXPECT(call80(64, 0, 0, 0), "getppid()");
	strcpy(low, "/dev/null");
	EXPECT(call80(5, (long)low, O_RDWR, 0), "open(\"/dev/null\", O_RDWR)");
	EXPECT(call80(4, 3, (long)low, 4), "write(3, \"/dev\", 4)");
	EXPECT(call80(6, 3, 0, 0), "close(3)");
	strcpy(low, "missing");
	EXPECT(call80(39, (long)low, 0750, 0), "mkdir(\"missing\", 0750)");
	EXPECT(call80(40, (long)low, 0, 0), "rmdir(\"missing\")");
	EXPECT(call80(10, (long)low, 0, 0), "unlink(\"missing\")");
	EXPECT(call80(199, 0, 0, 0), "getuid32()");
	EXPECT(call80(0xdeadbeefL << 32 | 64, 0, 0, 0), "getppid()");
	EXPECT(call80(1L << 63 | 64, 0, 0, 0), "getppid()");
}

int main(int argc, char **argv)
{
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int ia32 = has_ia32();

	begin("numbers");
	unknown();
	x32();
	upper_halves();
	finish("numbers", argv[argc - 1]);
	if (ia32) {
		begin("i386");
		i386(low);
		finish("i386", "i386.expected");
	}
	return 0;
}
