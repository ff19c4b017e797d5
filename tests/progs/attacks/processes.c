// SPDX-License-Identifier: GPL-2.0-only
/* Other processes: their memory, or what they do for one. */
#include "attack.h"
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

static unsigned long stack_of(pid_t pid)
{
	char path[64], line[256];
	unsigned long end = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "r");
	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "[stack]"))
			sscanf(line, "%*x-%lx", &end);
	return end;
}

/* A child is read and written through /proc/PID/mem, not by ptrace. */
static int memory_of_a_child(char **a)
{
	pid_t child = fork();
	char path[64];
	long word = 0;
	int fd, through = 0;

	(void)a;
	if (!child)
		for (;;)
			pause();
	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	fd = open(path, O_RDWR);
	if (fd >= 0) {
		unsigned long at = stack_of(child) - 64;

		through = pread(fd, &word, 8, at) == 8 && pwrite(fd, &word, 8, at) == 8;
	}
	if (!through)
		verdict("/proc/PID/mem", -1);
	else
		SAY("read and wrote the memory of a child: THROUGH");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return through ? THROUGH : REFUSED;
}

/* A tracee that was there before the rule; with ATTACK_WAITS in the environment the line comes after it. */
static int tracee_from_before(char **a)
{
	struct user_regs_struct registers;
	char line[16];
	pid_t tracee = fork();
	long result;

	(void)a;
	if (!tracee) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		for (;;)
			pause();
	}
	waitpid(tracee, NULL, 0);
	SAY("ready");
	if (!fgets(line, sizeof(line), stdin))
		return 2;
	result = verdict("PTRACE_GETREGS of a tracee from before", ptrace(PTRACE_GETREGS, tracee, 0, &registers));
	kill(tracee, SIGKILL);
	return result;
}

/* PID COMMAND FILE: the process PID runs COMMAND in the shell instead of what it did; FILE is what that made. */
static int inject(char **a)
{
	char room[512] = {0}, *words[] = {"/bin/sh", "-c", a[1]};
	unsigned long argv[4] = {0}, position = 64, at;
	struct user_regs_struct registers;
	pid_t pid = atoi(a[0]);

	if (ptrace(PTRACE_ATTACH, pid, 0, 0))
		return verdict("PTRACE_ATTACH", -1);
	waitpid(pid, NULL, __WALL);
	ptrace(PTRACE_GETREGS, pid, 0, &registers);
	at = (registers.rsp - 4096) & ~0xffUL;
	for (int i = 0; i < 3; i++) {
		strcpy(room + position, words[i]);
		argv[i] = at + position;
		position += strlen(words[i]) + 1;
	}
	memcpy(room, argv, sizeof(argv));
	for (unsigned i = 0; i < sizeof(room); i += 8)
		ptrace(PTRACE_POKEDATA, pid, at + i, *(long *)(room + i));
	ptrace(PTRACE_POKETEXT, pid, registers.rip, 0x050fL);	/* syscall */
	registers.rax = SYS_execve;
	registers.orig_rax = -1;
	registers.rdi = argv[0];
	registers.rsi = at;
	registers.rdx = 0;
	ptrace(PTRACE_SETREGS, pid, 0, &registers);
	ptrace(PTRACE_DETACH, pid, 0, 0);
	for (int i = 0; i < 100 && access(a[2], F_OK); i++)
		usleep(100000);
	return verdict("what the other process made", access(a[2], F_OK));
}

ATTACKS({"memory_of_a_child", memory_of_a_child, 0}, {"tracee_from_before", tracee_from_before, 0}, {"inject", inject, 3})
