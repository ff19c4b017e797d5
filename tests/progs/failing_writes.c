/* SPDX-License-Identifier: GPL-2.0-only
 * For LD_PRELOAD: writes to a descriptor, or to the file of a name, fail from the n-th on; what is started is left alone.
 * FAILING_FD, FAILING_FILE, FAILING_FROM, FAILING_ERRNO; FAILING_MARK is made when one has failed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fd = -1, from, error;
static const char *file, *mark;

__attribute__((constructor)) static void begin(void)
{
	fd = getenv("FAILING_FD") ? atoi(getenv("FAILING_FD")) : -1;
	file = getenv("FAILING_FILE");
	mark = getenv("FAILING_MARK");
	from = atoi(getenv("FAILING_FROM"));
	error = atoi(getenv("FAILING_ERRNO"));
	unsetenv("LD_PRELOAD");
}

static int concerned(int where)
{
	char link[64], path[4096];
	ssize_t size;

	if (!file)
		return where == fd;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", where);
	size = readlink(link, path, sizeof(path) - 1);
	return size > 0 && (path[size] = 0, !strcmp(path, file));
}

ssize_t write(int where, const void *data, size_t size)
{
	if (concerned(where) && --from <= 0) {
		close(open(mark, O_CREAT | O_WRONLY, 0600));
		errno = error;
		return -1;
	}
	return syscall(SYS_write, where, data, size);
}
