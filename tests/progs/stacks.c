/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * stacks WHAT [ARG]: calls whose stacks are known. `first` calls `second` calls `third`, which makes the call: write(77, WHAT), of a descriptor
 * that nobody has. `vfork` does no more than that, in a function of its own.
 *
 * chain: no more than that. signal: the same in a handler, on a stack of its own. thread: in a thread. exec: then another program at once, this one
 * again, as `chain`. deep: with 200 KiB on the stack between. libraries A B: A is loaded and its `called` called, and unloaded; then B, which
 * lies where A lay; each makes the call by a function that is given to it. generated [MAP]: by code that is made here, which MAP is to have a name
 * for: keep: a perf map; steal: one that belongs to somebody else; link: one that is a symbolic link.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OUT __attribute__((noinline, noclone))

static const char *what;

OUT void third(void)
{
	syscall(SYS_write, 77, what, strlen(what));
	asm volatile("");
}

OUT void second(int room)
{
	volatile char some[room + 16];

	some[room] = 1;
	third();
	some[room] = 2;
}

OUT void first(int room)
{
	second(room);
	asm volatile("");
}

static void handler(int number)
{
	first(number);
	asm volatile("");
}

static void by_signal(void)
{
	stack_t other = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 };
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };

	sigaltstack(&other, NULL);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
}

static void *in_thread(void *unused)
{
	first(16);
	return unused;
}

OUT void by_library(const char *path)
{
	void *library = dlopen(path, RTLD_NOW);
	void (*called)(void (*)(void)) = library ? dlsym(library, "called") : NULL;

	if (!called)
		exit(9);
	printf("%p\n", (void *)called);
	called(third);
	dlclose(library);
}

/* push %rbp; mov %rsp,%rbp; mov $third,%rax; call *%rax; pop %rbp; ret */
static void generate(unsigned char *code)
{
	unsigned char bytes[] = { 0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0, 0x5d, 0xc3 };
	void (*wanted)(void) = third;

	memcpy(bytes + 6, &wanted, sizeof(wanted));
	memcpy(code, bytes, sizeof(bytes));
}

static void write_map(const char *how, unsigned char *code)
{
	char path[64], other[80];
	FILE *file;

	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	snprintf(other, sizeof(other), "%s.other", path);
	unlink(path);
	file = fopen(strcmp(how, "link") ? path : other, "w");
	fprintf(file, "junk\n%lx %x generated_one \x1b[31m\n", (unsigned long)code, 18);
	fclose(file);
	if (!strcmp(how, "link") && symlink(other, path))
		exit(9);
	if (!strcmp(how, "steal") && chown(path, 65534, 65534))
		exit(9);
}

OUT void by_code(const char *how)
{
	unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	generate(code);
	if (how)
		write_map(how, code);
	((void (*)(void))code)();
	asm volatile("");
}

OUT void by_vfork(void)
{
	if (!vfork())
		_exit(0);
	asm volatile("");
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 2)
		return 2;
	what = argv[1];
	if (!strcmp(what, "signal")) {
		by_signal();
	} else if (!strcmp(what, "thread")) {
		pthread_create(&thread, NULL, in_thread, NULL);
		pthread_join(thread, NULL);
	} else if (!strcmp(what, "libraries")) {
		by_library(argv[2]);
		by_library(argv[3]);
	} else if (!strcmp(what, "vfork")) {
		by_vfork();
	} else if (!strcmp(what, "generated")) {
		by_code(argv[2]);
	} else {
		first(!strcmp(what, "deep") ? 200 << 10 : 16);
	}
	if (!strcmp(what, "exec"))
		execl(argv[2], argv[2], "chain", NULL);
	return 0;
}
