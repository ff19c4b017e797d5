// SPDX-License-Identifier: GPL-2.0-only
/*
 * ./moves DIRECTORY TURNS: two threads open a file of the working directory, which another changes and one renames as fast as they can. What is read
 * tells which directory it was: each file has its directory's name in it. In every other turn nobody moves: these opens have O_CLOEXEC.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPENS 50	/* of each thread in a turn */

static atomic_int over, moving, resting;
static pthread_barrier_t turn_over;
static int turns;
static const char *root;

/* Whether to move on; waits while nobody is to move. */
static int moves(void)
{
	if (!moving) {
		resting++;
		while (!moving)
			usleep(100);
		resting--;
	}
	return !over;
}

static void *changes(void *unused)
{
	while (moves())
		if (chdir("../a") || chdir("../b"))
			exit(1);
	return unused;
}

static void *renames(void *unused)
{
	char from[4096], to[4096];

	for (int turn = 0; moves(); turn++) {
		snprintf(from, sizeof(from), "%s/c%d", root, turn);
		snprintf(to, sizeof(to), "%s/c%d", root, turn + 1);
		if (rename(from, to))
			exit(1);
	}
	return unused;
}

static void begin_turn(int turn)
{
	if (pthread_barrier_wait(&turn_over) == PTHREAD_BARRIER_SERIAL_THREAD) {
		moving = turn % 2 == 0;
		while (resting != (moving ? 0 : 2))
			sched_yield();
	}
	pthread_barrier_wait(&turn_over);
}

static void *opens(void *directory)
{
	int home = (int)(long)directory;
	char byte;

	for (int turn = 0; turn < turns; turn++) {
		begin_turn(turn);
		for (int i = 0; i < OPENS; i++) {
			int fd = openat(i % 2 ? home : AT_FDCWD, "./marker", turn % 2 ? O_RDONLY | O_CLOEXEC : O_RDONLY);

			if (fd < 0 || pread(fd, &byte, 1, 0) != 1 || close(fd))
				exit(1);
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static const char *names[] = { "a", "b", "c0" };
	pthread_t threads[4];
	int home = -1;

	if (argc != 3 || chdir(root = argv[1]))
		return 1;
	turns = atoi(argv[2]);
	for (int i = 0; i < 3; i++) {
		int fd;

		if (mkdir(names[i], 0755) || (home = open(names[i], O_RDONLY)) < 0)
			return 1;
		fd = openat(home, "marker", O_WRONLY | O_CREAT, 0644);
		if (fd < 0 || write(fd, names[i], 1) != 1 || close(fd))
			return 1;
	}
	if (chdir("a"))
		return 1;
	pthread_barrier_init(&turn_over, NULL, 2);
	pthread_create(&threads[0], NULL, changes, NULL);
	pthread_create(&threads[1], NULL, renames, NULL);
	pthread_create(&threads[2], NULL, opens, (void *)(long)home);
	pthread_create(&threads[3], NULL, opens, (void *)(long)home);
	pthread_join(threads[2], NULL);
	pthread_join(threads[3], NULL);
	over = moving = 1;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	return 0;
}
