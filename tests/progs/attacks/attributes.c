// SPDX-License-Identifier: GPL-2.0-only
/* Attributes that change although a rule on `w` forbids it. */
#include "attack.h"
#include <linux/fs.h>
#include <sys/ioctl.h>

/* FILE: FS_IOC_SETFLAGS on a descriptor that is open for reading. */
static int setflags(char **a)
{
	int fd = open(a[0], O_RDONLY | O_NONBLOCK), flags = 0;

	if (fd < 0)
		return verdict("open", -1);
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return verdict("FS_IOC_GETFLAGS", -1);
	flags |= FS_NODUMP_FL;
	return verdict("FS_IOC_SETFLAGS", ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

/* FILE: the same by FS_IOC_FSSETXATTR. */
static int fssetxattr(char **a)
{
	int fd = open(a[0], O_RDONLY | O_NONBLOCK);
	struct fsxattr attributes;

	if (fd < 0)
		return verdict("open", -1);
	if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes))
		return verdict("FS_IOC_FSGETXATTR", -1);
	attributes.fsx_xflags |= FS_XFLAG_NODUMP;
	return verdict("FS_IOC_FSSETXATTR", ioctl(fd, FS_IOC_FSSETXATTR, &attributes));
}

ATTACKS({"setflags", setflags, 1}, {"fssetxattr", fssetxattr, 1})
