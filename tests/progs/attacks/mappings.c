// SPDX-License-Identifier: GPL-2.0-only
/* Files and memory that become executable by other ways than execve and mmap with PROT_EXEC. */
#include "attack.h"
#include <linux/mount.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/shm.h>
#include <sys/wait.h>

static const unsigned char CODE[] = {0xb8, 42, 0, 0, 0, 0xc3};

/* FILE: mapped shared for reading; once reading implies executing, its pages are mapped again. What is open for reading alone is not shared. */
static int remapped(char **a)
{
	int fd = open(a[0], O_RDWR);
	void *code = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	if (code == MAP_FAILED)
		return verdict("mmap MAP_SHARED", -1);
	personality(READ_IMPLIES_EXEC);
	if (syscall(SYS_remap_file_pages, code, 4096, 0, 0, 0))
		return verdict("remap_file_pages", -1);
	return answers_42("remap_file_pages", code);
}

/* FILE: mprotect to reading, which implies executing. */
static int read_again(char **a)
{
	int fd = open(a[0], O_RDONLY);
	void *code = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE, fd, 0);

	if (code == MAP_FAILED)
		return verdict("mmap PROT_NONE", -1);
	personality(READ_IMPLIES_EXEC);
	if (mprotect(code, 4096, PROT_READ))
		return verdict("mprotect PROT_READ", -1);
	return answers_42("mprotect PROT_READ", code);
}

/* Shared memory of System V that is attached for executing; no path has it. */
static int attached(char **a)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0700);
	void *page = shmat(id, NULL, 0), *code;

	(void)a;
	if (page == (void *)-1)
		return verdict("shmat", -1);
	memcpy(page, CODE, sizeof(CODE));
	code = shmat(id, NULL, SHM_EXEC | SHM_RDONLY);
	shmctl(id, IPC_RMID, NULL);
	return code == (void *)-1 ? verdict("shmat SHM_EXEC", -1) : answers_42("shmat SHM_EXEC", code);
}

/* A file in memory is mapped for executing. */
static int memfd_mapped(char **a)
{
	int fd = syscall(SYS_memfd_create, "code", 0);
	void *code;

	(void)a;
	if (fd < 0 || write(fd, CODE, sizeof(CODE)) < 0 || ftruncate(fd, 4096))
		return verdict("memfd_create", -1);
	code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	return code == MAP_FAILED ? verdict("mmap of a memfd", -1) : answers_42("mmap of a memfd", code);
}

/* Memory without a file, which no rule on `x` is about: it must go on working. */
static int no_file(char **a)
{
	void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)a;
	memcpy(code, CODE, sizeof(CODE));
	if (mprotect(code, 4096, PROT_READ | PROT_EXEC))
		return verdict("mprotect of memory without a file", -1);
	return answers_42("memory without a file", code);
}

/* PROGRAM ARGUMENT: a copy on a file system that is mounted nowhere is run. */
static int detached(char **a)
{
	int system = syscall(SYS_fsopen, "tmpfs", 0), mount, from = open(a[0], O_RDONLY), to, got;
	char *none[] = {NULL}, bytes[65536];

	if (system < 0 || syscall(SYS_fsconfig, system, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return verdict("fsopen", -1);
	mount = syscall(SYS_fsmount, system, 0, 0);
	to = mount < 0 ? -1 : openat(mount, "program", O_CREAT | O_WRONLY, 0755);
	if (from < 0 || to < 0)
		return verdict("copy", -1);
	while ((got = read(from, bytes, sizeof(bytes))) > 0)
		if (write(to, bytes, got) != got)
			return verdict("copy", -1);
	close(to);
	syscall(SYS_execveat, mount, "program", a, none, 0);
	return verdict("execveat below a detached mount", -1);
}

static int ran(char **a)
{
	(void)a;
	SAY("a program ran: THROUGH");
	return THROUGH;
}

ATTACKS({"remapped", remapped, 1}, {"read_again", read_again, 1}, {"attached", attached, 0}, {"memfd_mapped", memfd_mapped, 0},
	{"no_file", no_file, 0}, {"detached", detached, 2}, {"ran", ran, 0})
