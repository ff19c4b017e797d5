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

ATTACKS({"detached", detached, 2})
