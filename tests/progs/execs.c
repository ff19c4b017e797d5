/* SPDX-License-Identifier: GPL-2.0-only */
/* Ways to execute a program, and to fail: what a trace shows is what the caller gave. */
#include "expect.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* Pages of the program's file that a fresh child has not touched: not resident when execve is entered. */
__attribute__((aligned(4096), section(".rodata.far"))) static const char far_away[4096] = "./target\0first\0second";

static char *environment[] = { "A=1", "B=2", NULL };
static char *none[] = { NULL };

static void child(void (*body)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		body();
		_exit(99);
	}
	waitpid(pid, NULL, 0);
}

static void plain(void)
{
	char *argv[] = { "target", "-x", "", NULL };

	execve("./target", argv, environment);
}

static void untouched(void)
{
	char *argv[] = { (char *)far_away + 9, (char *)far_away + 15, NULL };

	execve(far_away, argv, environment);
}

static void script(void)
{
	static char name[] = "script";
	char *argv[] = { name, (char *)far_away + 9, NULL };

	name[0] = 's';

	execve("./script", argv, environment);
}

static void at_directory(void)
{
	char *argv[] = { "at", NULL };

	syscall(SYS_execveat, AT_FDCWD, "./target", argv, environment, 0);
}

static void by_descriptor(void)
{
	char *argv[] = { "by fd", NULL };

	syscall(SYS_execveat, open("target", O_PATH), "", argv, none, AT_EMPTY_PATH);
}

static void *from_here(void *unused)
{
	char *argv[] = { "of a thread", NULL };

	execve("./target", argv, environment);
	return unused;
}

static void thread(void)
{
	pthread_t id;

	pthread_create(&id, NULL, from_here, NULL);
	pthread_join(id, NULL);
}

static void failures(void)
{
	static char *argv[] = { "x", "\033[31m", (char *)0x10, NULL };
	static char *many[41];
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char **before_a_hole = (char **)(pages + 4096) - 1;

	for (int i = 0; i < 40; i++)
		many[i] = "m";
	EXPECT(execve("./missing", none, NULL), "execve(\"./missing\", [], NULL)");
	EXPECT(execve("./missing", (char **)0x10, NULL), "execve(\"./missing\", 0x10<fault>, NULL)");
	EXPECT(execve("", none, none), "execve(\"\", [], %p /* 0 vars */)", none);
	EXPECT(execve((char *)0x10, none, none), "execve(0x10<fault>, [], %p /* 0 vars */)", none);
	EXPECT(execve("", none, (char **)0x10), "execve(\"\", [], 0x10)");
	mprotect(pages + 4096, 4096, PROT_NONE);
	before_a_hole[0] = "A=1";
	EXPECT(execve("", none, before_a_hole), "execve(\"\", [], %p /* 1 var, unterminated */)", before_a_hole);
	EXPECT(execve("./target", argv, environment), "execve(\"./target\", [\"x\", \"\\33[31m\", 0x10<fault>], %p /* 2 vars */)", environment);
	say("execve(\"./missing\", [");
	for (int i = 0; i < 32; i++)
		say("\"m\", ");
	EXPECT(execve("./missing", many, none), "...], %p /* 0 vars */)", none);
	EXPECT(syscall(SYS_execveat, -1, "missing", none, none, AT_SYMLINK_NOFOLLOW), "execveat(-1, \"missing\", [], %p /* 0 vars */, AT_SYMLINK_NOFOLLOW)", none);
}

int main(int argc, char **argv)
{
	make_programs();
	begin("execs");
	failures();
	child(plain);
	say("execve(\"./target\", [\"target\", \"-x\", \"\"], %p /* 2 vars */) = 0\n", environment);
	child(untouched);
	say("execve(\"./target\", [\"first\", \"second\"], %p /* 2 vars */) = 0\n", environment);
	child(script);
	say("execve(\"./script\", [\"script\", \"first\"], %p /* 2 vars */) = 0\n", environment);
	child(at_directory);
	say("execveat(AT_FDCWD, \"./target\", [\"at\"], %p /* 2 vars */, 0) = 0\n", environment);
	child(by_descriptor);
	say("execveat(3, \"\", [\"by fd\"], %p /* 0 vars */, AT_EMPTY_PATH) = 0\n", none);
	child(thread);
	say("execve(\"./target\", [\"of a thread\"], %p /* 2 vars */) = 0\n", environment);
	finish("execs", argv[argc - 1]);
	return 0;
}
