// SPDX-License-Identifier: GPL-2.0-only
/* The path of a rule comes to name another file: a directory or link that it leads through is moved, removed or replaced. */
#include "attack.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

static int writes(const char *what, const char *directory, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
	if (fd < 0 || write(fd, "evil\n", 5) != 5)
		return verdict(what, -1);
	SAY("%s: THROUGH, wrote %s", what, path);
	return THROUGH;
}

/* DIRECTORY NAME: moved away, and made anew. */
static int swapped(char **a)
{
	char away[4096];

	snprintf(away, sizeof(away), "%s.old", a[0]);
	if (rename(a[0], away) || mkdir(a[0], 0755))
		return verdict("rename", -1);
	return writes("after the move", a[0], a[1]);
}

/* DIRECTORY NAME: exchanged for one beside it. */
static int exchanged(char **a)
{
	char other[4096];

	snprintf(other, sizeof(other), "%s.other", a[0]);
	mkdir(other, 0755);
	if (syscall(SYS_renameat2, AT_FDCWD, other, AT_FDCWD, a[0], RENAME_EXCHANGE))
		return verdict("RENAME_EXCHANGE", -1);
	return writes("after the exchange", a[0], a[1]);
}

/* DIRECTORY NAME: an empty one is removed, and made anew. */
static int removed(char **a)
{
	if (rmdir(a[0]) || mkdir(a[0], 0755))
		return verdict("rmdir", -1);
	return writes("after it was removed", a[0], a[1]);
}

/* LINK NAME: the link is removed, and a directory takes its place. */
static int unlinked(char **a)
{
	if (unlink(a[0]) || mkdir(a[0], 0755))
		return verdict("unlink", -1);
	return writes("after the link was removed", a[0], a[1]);
}

/* LINK NAME: another link is moved over it. */
static int pointed_elsewhere(char **a)
{
	char other[4096], directory[4096];

	snprintf(other, sizeof(other), "%s.new", a[0]);
	snprintf(directory, sizeof(directory), "%s.directory", a[0]);
	if (mkdir(directory, 0755) || symlink(directory, other) || rename(other, a[0]))
		return verdict("rename over the link", -1);
	return writes("after the link was replaced", a[0], a[1]);
}

/* DIRECTORY OTHER: a mount that says how it spreads is a mount all the same. */
static int covered(char **a)
{
	return verdict("mount(MS_BIND | MS_PRIVATE)", mount(a[1], a[0], NULL, MS_BIND | MS_PRIVATE, NULL));
}

/* ROOT: what is mounted there becomes the root, in a mount namespace of its own. */
static int pivoted(char **a)
{
	char old[4096];

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("none", a[0], "tmpfs", 0, NULL))
		return UNTRIED;
	snprintf(old, sizeof(old), "%s/old", a[0]);
	mkdir(old, 0755);
	return verdict("pivot_root", syscall(SYS_pivot_root, a[0], old));
}

ATTACKS({"covered", covered, 2}, {"pivoted", pivoted, 1}, {"swapped", swapped, 2}, {"exchanged", exchanged, 2}, {"removed", removed, 2}, {"unlinked", unlinked, 2},
	{"pointed_elsewhere", pointed_elsewhere, 2})
