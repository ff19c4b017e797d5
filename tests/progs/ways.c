/* Makes a call by the entries of x86-64 and of i386 (int 0x80), and prints the error of each, 0 for none.
   Usage: ways connect|getppid */
#include <stdio.h>
#include <string.h>

static long int80(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
	return result;
}

static long native(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

static void show(const char *way, long result)
{
	printf("%s %d\n", way, result < 0 ? (int)-result : 0);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "connect")) {
		show("x86_64", native(42, -1, 0, 0));
		show("i386", int80(362, -1, 0, 0));
		show("socketcall", int80(102, 3, 0, 0));
		show("socket", int80(359, -1, 0, 0));
	} else {
		show("x86_64", native(110, 0, 0, 0));
		show("i386", int80(64, 0, 0, 0));
	}
	return 0;
}
