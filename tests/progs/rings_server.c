// SPDX-License-Identifier: GPL-2.0-only
/* What docs/io_uring.md shows: a server that reads a file and waits, by operations of io_uring alone. */
#define main scene
#include "rings.c"
#undef main
#include <sys/eventfd.h>

int main(void)
{
	static char page[4096];
	int event, file;

	set_up(0, ENTRIES);
	event = eventfd(1, 0);
	file = one((struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, PATH("/etc/hosts"), .user_data = 0x2a });
	one((struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = file, PATH(page), .len = sizeof(page), .flags = IOSQE_ASYNC, .user_data = 0x2b });
	one((struct io_uring_sqe){ .opcode = IORING_OP_POLL_ADD, .fd = event, .poll32_events = POLLIN, .len = POLL_MULTISHOT, .user_data = 0x2c });
	return 0;
}
