/* SPDX-License-Identifier: GPL-2.0-only */
/* What is abbreviated without -v, and how much of it there may be. */
#include "expect.h"
#include <poll.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define MOST 120	/* of an argv and of an envp: ARGUMENTS in bpf/trace_record.h */

/* Not resident when execve is entered. */
__attribute__((aligned(4096), section(".rodata.far"))) static const char far_away[4096] = "FAR=away";

static char *none[] = { NULL };
static char *arguments[MOST + 11], *environment[MOST + 11];

/* "a0", "a1", …; what there is no room for is said. */
static void say_strings(char **strings)
{
	int i;

	say("[");
	for (i = 0; strings[i] && i < MOST; i++)
		say("%s\"%s\"", i ? ", " : "", strings[i]);
	say("%s]", strings[i] ? ", ..." : "");
}

static void set(char **strings, char kind, int count)
{
	for (int i = 0; i < count; i++)
		if (asprintf(&strings[i], "%c%d=%d", kind, i, i * i) < 0)
			abort();
	strings[count] = NULL;
}

static void failed(int count, int variables)
{
	set(arguments, 'a', count);
	set(environment, 'E', variables);
	execve("./missing", arguments, environment);
	say("execve(\"./missing\", ");
	say_strings(arguments);
	say(", ");
	say_strings(environment);
	say(") = -1 ENOENT (No such file or directory)\n");
}

static void ran(const char *file, int count, int variables, const char *last)
{
	pid_t pid;

	set(arguments, 'b', count);
	set(environment, 'F', variables);
	environment[variables - 1] = (char *)last;
	pid = fork();
	if (pid == 0) {
		execve(file, arguments, environment);
		_exit(99);
	}
	waitpid(pid, NULL, 0);
	say("execve(\"%s\", ", file);
	say_strings(arguments);
	say(", ");
	say_strings(environment);
	say(") = 0\n");
}

static void bad_pointers(void)
{
	static char *bad[] = { "G=1", (char *)0x10, NULL };

	EXPECT(execve("./missing", none, NULL), "execve(\"./missing\", [], NULL)");
	EXPECT(execve("./missing", none, none), "execve(\"./missing\", [], [])");
	EXPECT(execve("./missing", none, (char **)0x10), "execve(\"./missing\", [], 0x10)");
	EXPECT(execve("./target", none, bad), "execve(\"./target\", [], [\"G=1\", 0x10<fault>])");
}

/* Where strings are long there is room for fewer: never for half of one without a word. */
static void structs(void)
{
	struct pollfd polled[40] = {};
	struct iovec parts[20];
	struct utsname name;

	for (int i = 0; i < 40; i++)
		polled[i].fd = -1 - i;
	poll(polled, 40, 0);
	say("poll([");
	for (int i = 0; i < 40; i++)
		say("%s{fd=%d}", i ? ", " : "", -1 - i);
	say("], 40, 0) = 0 (Timeout)\n");
	for (int i = 0; i < 20; i++)
		parts[i] = (struct iovec){ "x", 1 };
	say("writev(-1, [");
	for (int i = 0; i < 20; i++)
		say("%s{iov_base=\"x\", iov_len=1}", i ? ", " : "");
	EXPECT(syscall(SYS_writev, -1, parts, 20), "], 20)");
	uname(&name);
	say("uname({sysname=\"%s\", nodename=\"%s\", release=\"%s\", version=\"%s\", machine=\"%s\", domainname=\"%s\"}) = 0\n", name.sysname,
	    name.nodename, name.release, name.version, name.machine, name.domainname);
}

int main(int argc, char **argv)
{
	make_programs();
	begin("full");
	structs();
	bad_pointers();
	failed(31, 31);
	failed(32, 33);
	failed(MOST, MOST);
	failed(MOST + 1, MOST + 10);
	ran("./target", 40, 50, "last");
	ran("./target", MOST, MOST, far_away);
	ran("./target", MOST + 5, 3, far_away);
	ran("./script", 50, 40, far_away);
	finish("full", argv[argc - 1]);
	return 0;
}
