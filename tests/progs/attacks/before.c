// SPDX-License-Identifier: GPL-2.0-only
/* What was had before the rules are there. Each says ready when it has it, and uses it after a line on its standard input. */
#include "attack.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static int ruled(void)
{
	char line[16];

	SAY("ready");
	return fgets(line, sizeof(line), stdin) != NULL;
}

/* FILE: open already. */
static int descriptor(char **a)
{
	int fd = open(a[0], O_RDWR);

	if (fd < 0)
		return verdict("open, before", -1);
	if (!ruled())
		return 2;
	if (pwrite(fd, "s", 1, 0) != 1)
		return verdict("write", -1);
	return shows("what is open already", fd);
}

/* FILE: an O_PATH descriptor, which is no open file: it is opened now. */
static int place(char **a)
{
	int fd = open(a[0], O_PATH);
	char name[64];

	if (fd < 0)
		return verdict("open O_PATH, before", -1);
	if (!ruled())
		return 2;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return shows("opened from O_PATH", open(name, O_RDONLY));
}

/* DIRECTORY NAME: the directory is the working one already. */
static int working_directory(char **a)
{
	if (chdir(a[0]))
		return verdict("chdir, before", -1);
	if (!ruled())
		return 2;
	return shows("below the working directory", open(a[1], O_RDONLY));
}

/* PORT: connected already. */
static int connection(char **a)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(a[0]))};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (void *)&to, sizeof(to)))
		return verdict("connect, before", -1);
	if (!ruled())
		return 2;
	return verdict("send on a connection from before", send(fd, "x", 1, MSG_NOSIGNAL));
}

ATTACKS({"descriptor", descriptor, 1}, {"place", place, 1}, {"working_directory", working_directory, 2}, {"connection", connection, 1})
