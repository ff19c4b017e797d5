/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A test program makes calls and writes down, in strace's words, the lines that a trace of them must have. What it writes goes to memory first,
 * so that it makes no call between `begin` and `finish` but those under test.
 */
#ifndef EXPECT_H
#define EXPECT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static char expected[1 << 16];
static size_t used;

/* `target`, a program, and `script`, which it interprets. */
static inline void make_programs(void)
{
	char text[] = "#!./target an option\n";
	int fd;

	if (symlink("/bin/true", "target") && errno != EEXIST)
		abort();
	fd = open("script", O_WRONLY | O_CREAT | O_TRUNC, 0755);
	if (write(fd, text, strlen(text)) < 0)
		abort();
	close(fd);
}

/* The marks are calls that fail: a test looks at what lies between them. */
static inline void begin(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/isotrace/begin/%s", name);
	if (chdir(path) == 0)
		abort();
}

static inline void finish(const char *name, const char *file)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/isotrace/end/%s", name);
	if (chdir(path) == 0)
		abort();
	fd = open(file, O_WRONLY | O_CREAT | O_APPEND, 0666);
	if (write(fd, expected, used) != (ssize_t)used)
		abort();
	close(fd);
	used = 0;
}

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	used += vsnprintf(expected + used, sizeof(expected) - used, format, arguments);
	va_end(arguments);
	if (used >= sizeof(expected))
		abort();
}

/* " = 3" or " = -1 ENOENT (No such file or directory)", and the end of the line; errno is that of the call. */
static inline long say_result(long result)
{
	int error = errno;

	if (result == -1)
		say(" = -1 %s (%s)\n", strerrorname_np(error), strerror(error));
	else
		say(" = %ld\n", result);
	return result;
}

/* EXPECT(call, "text of the call, %d", …): makes the call and expects the text with its result. */
#define EXPECT(call, ...) ({ long expect_result = (long)(call); int expect_errno = errno; \
	say(__VA_ARGS__); errno = expect_errno; say_result(expect_result); })

#endif
