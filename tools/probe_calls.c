// Make every system call number once, with a filter that refuses them all before they reach any code, so that a
// tracer sees each of them: probe_calls x86_64|i386 LAST. The process ends by SIGILL, as even exit is refused.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void call_i386(long nr)
{
	__asm__ volatile("int $0x80" : "+a"(nr) : "b"(0), "c"(0), "d"(0), "S"(0), "D"(0)
			 : "memory", "r8", "r9", "r10", "r11");
}

// uretprobe and uprobe (335, 336) answer a stray caller with SIGILL before any filter.
static int harmful(long nr)
{
	return nr == 335 || nr == 336;
}

int main(int argc, char **argv)
{
	struct sock_filter refuse[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS) };
	struct sock_fprog program = { 1, refuse };

	if (argc != 3)
		return 2;
	int i386 = strcmp(argv[1], "i386") == 0;
	long last = atol(argv[2]);

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
		return 1;
	for (long nr = 0; nr <= last; nr++) {
		if (i386)
			call_i386(nr);
		else if (!harmful(nr))
			syscall(nr, 0, 0, 0, 0, 0, 0);
	}
	__builtin_trap();
}
