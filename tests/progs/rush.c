/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A library: many short-lived processes, each of which tries to open a file as the first thing it does.
 *
 * rush(PATH, COUNT, 0): children. rush(PATH, COUNT, 1): grandchildren, who try once more when their parent is gone.
 * The result is how many tries got through, -1 where not every process came to its tries.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct stats {
	int tried, through;
};

static void attempt(struct stats *stats, const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd >= 0) {
		close(fd);
		__atomic_add_fetch(&stats->through, 1, __ATOMIC_SEQ_CST);
	}
	__atomic_add_fetch(&stats->tried, 1, __ATOMIC_SEQ_CST);
}

static void grandchild(struct stats *stats, const char *path, pid_t parent)
{
	attempt(stats, path);
	while (getppid() == parent)
		sched_yield();
	attempt(stats, path);
}

static void child(struct stats *stats, const char *path, int orphans)
{
	pid_t me = getpid();

	if (!orphans)
		attempt(stats, path);
	else if (fork() == 0)
		grandchild(stats, path, me);
	_exit(0);
}

int rush(const char *path, int count, int orphans)
{
	struct stats *stats = mmap(NULL, sizeof(*stats), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int wanted = orphans ? 2 * count : count, rounds, through;

	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid == 0)
			child(stats, path, orphans);
		waitpid(pid, NULL, 0);
	}
	for (rounds = 0; __atomic_load_n(&stats->tried, __ATOMIC_SEQ_CST) < wanted && rounds < 2000; rounds++)
		usleep(10000);
	through = stats->tried == wanted ? stats->through : -1;
	munmap(stats, sizeof(*stats));
	return through;
}
