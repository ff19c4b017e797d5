// SPDX-License-Identifier: GPL-2.0-only
/* Files that are reached by another mount. */
#include "attack.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

/* DIRECTORY NAME: the file below a clone of the directory's mount that is attached nowhere. */
static int detached(char **a)
{
	int tree = syscall(SYS_open_tree, AT_FDCWD, a[0], OPEN_TREE_CLONE | O_CLOEXEC);

	if (tree < 0)
		return verdict("open_tree", -1);
	return shows("openat below a detached clone", openat(tree, a[1], O_RDONLY));
}

/* FILE TO: writes the file's handle to TO; no attack. */
static int handle(char **a)
{
	struct file_handle *found = malloc(sizeof(*found) + MAX_HANDLE_SZ);
	int to = open(a[1], O_CREAT | O_WRONLY | O_TRUNC, 0600), mount;

	found->handle_bytes = MAX_HANDLE_SZ;
	if (to < 0 || name_to_handle_at(AT_FDCWD, a[0], found, &mount, 0))
		return verdict("name_to_handle_at", -1);
	return write(to, found, sizeof(*found) + found->handle_bytes) < 0;
}

/* DIRECTORY FROM: opens what the handle in FROM stands for, in the file system of the directory. */
static int by_handle(char **a)
{
	struct file_handle *found = calloc(1, sizeof(*found) + MAX_HANDLE_SZ);
	int from = open(a[1], O_RDONLY), mount = open(a[0], O_RDONLY | O_DIRECTORY);

	if (from < 0 || mount < 0 || read(from, found, sizeof(*found) + MAX_HANDLE_SZ) < 0)
		return UNTRIED;
	return shows("open_by_handle_at", open_by_handle_at(mount, found, O_RDONLY));
}

ATTACKS({"detached", detached, 2}, {"handle", handle, 2}, {"by_handle", by_handle, 2})
