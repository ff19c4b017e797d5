// SPDX-License-Identifier: GPL-2.0-only
/* Code that runs although a rule on `x` forbids it. */
#include "attack.h"
#include <sys/mman.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>

/* FILE: with READ_IMPLIES_EXEC what is mapped for reading is executable. */
static int implied(char **a)
{
	int fd = open(a[0], O_RDONLY);
	void *code;

	if (fd < 0)
		return verdict("open", -1);
	code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	SAY("plain PROT_EXEC map: %s", code == MAP_FAILED ? strerror(errno) : "allowed");
	personality(READ_IMPLIES_EXEC);
	code = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	if (code == MAP_FAILED)
		return verdict("mmap PROT_READ with READ_IMPLIES_EXEC", -1);
	return answers_42("READ_IMPLIES_EXEC", code);
}

/* FILE: mapped for reading first. */
static int protected_later(char **a)
{
	int fd = open(a[0], O_RDONLY);
	void *code = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);

	if (code == MAP_FAILED)
		return verdict("mmap PROT_READ", -1);
	if (mprotect(code, 4096, PROT_READ | PROT_EXEC))
		return verdict("mprotect PROT_EXEC", -1);
	return answers_42("mprotect", code);
}

/* PROGRAM ARGUMENTS: a copy of it in memory is run. */
static int memfd(char **a)
{
	int self = open(a[0], O_RDONLY), copy = syscall(SYS_memfd_create, "p", 0);
	char *none[] = {NULL};
	struct stat s;

	if (self < 0 || fstat(self, &s) || sendfile(copy, self, NULL, s.st_size) != s.st_size)
		return verdict("copy", -1);
	fexecve(copy, a, none);
	return verdict("fexecve of a memfd", -1);
}

/* PROGRAM: who traces what it executes reads its memory, which is the file's. */
static int traced(char **a)
{
	pid_t child = fork();
	struct user_regs_struct registers;
	int status;

	if (!child) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execl(a[0], a[0], NULL);
		_exit(errno);
	}
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
		errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINVAL;
		return verdict("execve", -1);
	}
	ptrace(PTRACE_GETREGS, child, 0, &registers);
	errno = 0;
	ptrace(PTRACE_PEEKTEXT, child, (void *)registers.rip, 0);
	kill(child, SIGKILL);
	return verdict("PTRACE_PEEKTEXT", errno ? -1 : 0);
}

static int ran(char **a)
{
	(void)a;
	SAY("a program ran: THROUGH");
	return THROUGH;
}

ATTACKS({"implied", implied, 1}, {"protected_later", protected_later, 1}, {"memfd", memfd, 2}, {"ran", ran, 0},
	{"traced", traced, 1})
