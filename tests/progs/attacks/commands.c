// SPDX-License-Identifier: GPL-2.0-only
/* Attributes of a file or directory that change by ioctl, or by a late call, on a descriptor that is open for reading. */
#include "attack.h"
#include <linux/fs.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define NR_FILE_SETATTR 469

/* A call of i386 by int 0x80; `last` lies below 4 GB. */
static long int80(long number, long first, long second, void *last)
{
	long result;

	asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(last) : "memory", "r8", "r9", "r10", "r11");
	if (result < 0 && result > -4096) {
		errno = -result;
		return -1;
	}
	return result;
}

/* FILE: FS_IOC32_SETFLAGS by a 32-bit call. */
static int setflags32(char **a)
{
	int fd = open(a[0], O_RDONLY | O_NONBLOCK);
	int *flags = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (fd < 0 || flags == MAP_FAILED || ioctl(fd, FS_IOC_GETFLAGS, flags))
		return verdict("FS_IOC_GETFLAGS", -1);
	*flags |= FS_NODUMP_FL;
	return verdict("FS_IOC32_SETFLAGS", int80(54, fd, 0x40046602, flags));
}

/* FILE: its generation number. */
static int setversion(char **a)
{
	int fd = open(a[0], O_RDONLY | O_NONBLOCK), version = 4711;

	return fd < 0 ? verdict("open", -1) : verdict("EXT4_IOC_SETVERSION", ioctl(fd, 0x40086604, &version));
}

/* FILE: its extents become blocks. */
static int migrate(char **a)
{
	int fd = open(a[0], O_RDONLY | O_NONBLOCK);

	return fd < 0 ? verdict("open", -1) : verdict("EXT4_IOC_MIGRATE", ioctl(fd, 0x6609));
}

/* FILE: file_setattr(2), which opens nothing. */
static int file_setattr(char **a)
{
	struct { uint64_t xflags; uint32_t extsize, nextents, projid, cowextsize; } attributes = {.xflags = FS_XFLAG_NODUMP};

	return verdict("file_setattr", syscall(NR_FILE_SETATTR, AT_FDCWD, a[0], &attributes, sizeof(attributes), 0));
}

/* FILE: what changes nothing, which must go on working. */
static int looks(char **a)
{
	int fd = open(a[0], O_RDONLY | O_NONBLOCK), flags = 0;

	if (fd < 0 || ioctl(fd, FIGETBSZ, &flags))
		return verdict("FIGETBSZ", -1);
	return verdict("FS_IOC_GETFLAGS", ioctl(fd, FS_IOC_GETFLAGS, &flags));
}

ATTACKS({"setflags32", setflags32, 1}, {"setversion", setversion, 1}, {"migrate", migrate, 1}, {"file_setattr", file_setattr, 1}, {"looks", looks, 1})
