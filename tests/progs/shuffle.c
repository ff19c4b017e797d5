/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that open, duplicate and close in one table of descriptors, whose numbers are each other's again and again. Each call under test has in one of
 * its arguments what the descriptor is, as far as the caller can know: the offset of a pread is 1000 times the number of the file, whose name is f and that
 * number.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS 8
#define SHARED 8	/* numbers that belong to whoever has the lock, from FIRST on */
#define FIRST 500
#define WILD 600	/* one that nobody protects */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int turns, holds[SHARED];

static int opened(int file)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "f%d", file);
	fd = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		abort();
	return fd;
}

static void look(int fd, int file)
{
	char byte;

	if (syscall(SYS_pread64, fd, &byte, 1, (long)file * 1000) < 0)
		abort();
}

/* Its own: nobody else closes the number. */
static void own(int file)
{
	int fd = opened(file), other;

	look(fd, file);
	other = syscall(SYS_dup, fd);
	look(other, file);
	syscall(SYS_close, fd);
	look(other, file);
	syscall(SYS_close, other);
}

/* A number of all: what it is, is known while the lock is held. */
static void shared(int file, unsigned *seed)
{
	int slot = rand_r(seed) % SHARED, fd = opened(file);

	pthread_mutex_lock(&lock);
	if (holds[slot])
		look(FIRST + slot, holds[slot]);
	if (rand_r(seed) % 4) {
		syscall(SYS_dup2, fd, FIRST + slot);
		holds[slot] = file;
		look(FIRST + slot, file);
	} else {
		syscall(SYS_close, FIRST + slot);
		holds[slot] = 0;
	}
	pthread_mutex_unlock(&lock);
	look(fd, file);
	syscall(SYS_close, fd);
}

/* A number that others change at any time, and files that others rename: it is some file, by one of its names. */
static void wild(int file, int thread)
{
	char from[32], to[64];
	int fd = opened(file);

	syscall(SYS_dup2, fd, WILD);
	syscall(SYS_lseek, WILD, 0, SEEK_END);
	snprintf(from, sizeof(from), "here%d", thread);
	snprintf(to, sizeof(to), "a-longer-name-than-fits-into-a-dentry-there%d", thread);
	syscall(SYS_rename, from, to);
	syscall(SYS_lseek, WILD + 1 + thread % THREADS, 0, SEEK_END);
	syscall(SYS_rename, to, from);
	syscall(SYS_lseek, WILD + 1 + thread % THREADS, 0, SEEK_END);
	syscall(SYS_close, fd);
}

static void *run(void *argument)
{
	int thread = (long)argument;
	unsigned seed = thread;

	for (int turn = 0; turn < turns; turn++) {
		int file = thread * 1000 + turn % 100;

		own(file);
		shared(file, &seed);
		wild(file, thread);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	char name[32];

	turns = argc > 1 ? atoi(argv[1]) : 100;
	for (int i = 1; i <= THREADS; i++) {
		snprintf(name, sizeof(name), "here%d", i);
		mkdir(name, 0700);
		snprintf(name, sizeof(name), "here%d/inside", i);
		mkdir(name, 0700);
		dup2(open(name, O_RDONLY | O_DIRECTORY), WILD + i);
	}
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, run, (void *)(i + 1));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
