/* Tries system calls by number: refuse ERRNO TIMES ABI NUMBER...
 *
 * ABI is 64, x32 or 32 (int 0x80); with a + behind it each try is made with many upper halves of the register above the number, and may then
 * fail with ENOSYS as well: on 5.10 a number has 64 bits where nothing traces. The fifth argument of each call is 16, the others are 0. The exit status is how many
 * of the numbers did, on any try, something else than fail with ERRNO. No C library: nothing else is called but exit.
 */
#define EXIT_GROUP_64 231
#define EXIT_GROUP_32 252
#define X32_BIT 0x40000000
#define ENOSYS 38
#define UPPER_HALVES 36

#ifdef __x86_64__
static long call64(long number, long a5)
{
	long result;
	register long r8 __asm__("r8") = a5;
	register long r9 __asm__("r9") = 0;
	register long r10 __asm__("r10") = 0;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(0L), "S"(0L), "d"(0L), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static long call32(long number, long a5)
{
	int result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(0), "c"(0), "d"(0), "S"(0), "D"((int)a5)
			 : "r8", "r9", "r10", "r11", "memory");
	return result;
}
#define EXIT(status) __asm__ volatile("syscall" : : "a"(EXIT_GROUP_64), "D"((long)(status)))
#else
static long call32(long number, long a5)
{
	int result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(0), "c"(0), "d"(0), "S"(0), "D"(a5) : "memory");
	return result;
}
#define call64 call32
#define EXIT(status) __asm__ volatile("int $0x80" : : "a"(EXIT_GROUP_32), "b"(status))
#endif

static long number_of(const char *text)
{
	long found = 0;

	while (*text)
		found = found * 10 + (*text++ - '0');
	return found;
}

/* Nothing, each bit, all of them, and some: from 0 to UPPER_HALVES - 1. */
static unsigned long upper_half(int which)
{
	if (which == 0)
		return 0;
	if (which <= 32)
		return 1ul << (which - 1);
	return which == 33 ? 0xffffffff : which == 34 ? 0xdeadbeef : 0x7fffffff;
}

static int ends_with_plus(const char *text)
{
	while (text[1])
		text++;
	return *text == '+';
}

__attribute__((used)) static void run(long *stack)
{
	long argc = stack[0], misfits = 0;
	char **argv = (char **)(stack + 1);
	long wanted = -number_of(argv[1]), times = number_of(argv[2]);
	int wide = argv[3][0] == '6', x32 = argv[3][0] == 'x', halves = ends_with_plus(argv[3]) ? UPPER_HALVES : 1;

	for (long i = 4; i < argc; i++) {
		long number = number_of(argv[i]), misfit = 0;

		for (long n = 0; n < times * halves; n++) {
			long above = sizeof(long) > 4 ? upper_half(n % halves) << 16 << 16 : 0;
			long all = above | number | (x32 ? X32_BIT : 0);
			long result = wide || x32 ? call64(all, 16) : call32(all, 16);
			misfit |= result != wanted && !(above && result == -ENOSYS);
		}
		misfits += misfit;
	}
	EXIT(misfits > 100 ? 100 : misfits);
	__builtin_unreachable();
}

#ifdef __x86_64__
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call run\n");
#else
__asm__(".globl _start\n_start: mov %esp, %eax\n and $-16, %esp\n sub $12, %esp\n push %eax\n call run\n");
#endif
