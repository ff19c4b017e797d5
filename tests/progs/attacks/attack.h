// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the attacks on `isotrace block` share. A file of this directory is a program of attacks of one kind: `FILE NAME ARGUMENTS`.
 *
 * An attack says THROUGH and ends with 0 where it got what the rule forbids; it ends with 1 where it was refused, and with 77 where this
 * kernel or file system has not what it needs. Without a rule it must get through, or end with 77: tests/vm/attacks runs it both ways.
 * With ATTACK_WAITS set it begins once a line arrives on its standard input, so that it needs nothing but what it tries.
 */
#ifndef ATTACK_H
#define ATTACK_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THROUGH 0
#define REFUSED 1
#define UNTRIED 77

#define SAY(...) do { printf(__VA_ARGS__); printf("\n"); fflush(stdout); } while (0)

struct attack {
	const char *name;
	int (*run)(char **arguments);
	int arguments;	/* at least so many */
};

/* What a call's result means: an error that says "this kernel cannot" is no refusal. */
static inline int verdict(const char *what, long result)
{
	if (result >= 0) {
		SAY("%s: THROUGH (%ld)", what, result);
		return THROUGH;
	}
	SAY("%s: %s", what, strerror(errno));
	return errno == ENOSYS || errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL ? UNTRIED : REFUSED;
}

/* Whether the descriptor, -1 where a call failed, can be read. */
static inline int shows(const char *what, int fd)
{
	char bytes[64] = {0};
	ssize_t got = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes) - 1);

	if (got < 0)
		return verdict(what, -1);
	SAY("%s: THROUGH, read %zd bytes", what, got);
	return THROUGH;
}

/* Runs code that answers 42. */
static inline int answers_42(const char *what, void *code)
{
	int answer = ((int (*)(void))code)();

	SAY("%s: code returned %d%s", what, answer, answer == 42 ? ", THROUGH" : "");
	return answer == 42 ? THROUGH : REFUSED;
}

/* What rules on places and on calls can both be on: a place that ends with "/made" is made as a directory, any other opened. Negative on failure. */
static inline int reach(const char *place)
{
	const char *name = strrchr(place, '/');

	return name && !strcmp(name, "/made") ? mkdir(place, 0777) : open(place, O_RDONLY);
}

/* A line more in a file, for who looks when this process is gone. */
static inline void note(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0666);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return;
	close(fd);
}

static inline int attacks(const struct attack *all, unsigned count, int argc, char **argv)
{
	char line[16];

	if (getenv("ATTACK_WAITS") && !fgets(line, sizeof(line), stdin))
		return 2;
	for (unsigned i = 0; argc > 1 && i < count; i++)
		if (!strcmp(argv[1], all[i].name) && argc - 2 >= all[i].arguments)
			return all[i].run(argv + 2);
	fprintf(stderr, "no such attack, or too few arguments\n");
	return 2;
}

#define ATTACKS(...) \
	int main(int argc, char **argv) \
	{ \
		static const struct attack all[] = {__VA_ARGS__}; \
		return attacks(all, sizeof(all) / sizeof(*all), argc, argv); \
	}
#endif
