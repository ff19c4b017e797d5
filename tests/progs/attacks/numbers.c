// SPDX-License-Identifier: GPL-2.0-only
/* Calls whose number is not what it seems: more bits than a number has, other ABIs, none at all. */
#include "attack.h"
#include <linux/aio_abi.h>

#define SIGN (1ul << 63)

static long call(unsigned long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	if (result < 0 && result > -4096) {
		errno = -result;
		return -1;
	}
	return result;
}

/* FILE: open with each bit above the number's 32, and as x32 with the sign of all 64. */
static int wide_open(char **a)
{
	int tried = call(SIGN | 0x40000000 | 2, (long)a[0], O_RDONLY, 0);

	if (tried >= 0)
		return verdict("open of x32 with the sign of 64 bits", 0);
	for (int bit = 32; bit < 64; bit++)
		if (call(1ul << bit | 2, (long)a[0], O_RDONLY, 0) >= 0)
			return verdict("open with a bit above", 0);
	if (errno == ENOSYS && open(a[0], O_RDONLY) >= 0) {	/* 5.10 looks at all 64 where nothing traces */
		SAY("a number has 64 bits here");
		return 0;
	}
	return verdict("open with bits above", -1);
}

/* FILE: written to by an order to io_submit. */
static int aio_write(char **a)
{
	struct iocb order = {.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_buf = (unsigned long)"x", .aio_nbytes = 1}, *orders = &order;
	aio_context_t context = 0;
	struct io_event done;

	order.aio_fildes = open(a[0], O_WRONLY);
	if ((int)order.aio_fildes < 0 || syscall(SYS_io_setup, 1, &context))
		return UNTRIED;
	SAY("pwrite: %s", pwrite(order.aio_fildes, "x", 1, 0) < 0 ? strerror(errno) : "allowed");
	if (syscall(SYS_io_submit, context, 1, &orders) != 1)
		return verdict("io_submit", -1);
	if (syscall(SYS_io_getevents, context, 1, 1, &done, NULL) != 1)
		return UNTRIED;
	errno = -done.res;
	return verdict("written by io_submit", done.res == 1 ? 0 : -1);
}

ATTACKS({"wide_open", wide_open, 1}, {"aio_write", aio_write, 1})
