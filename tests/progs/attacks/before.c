// SPDX-License-Identifier: GPL-2.0-only
/* What was had before the rules are there. Each says ready when it has it, and uses it after a line on its standard input. */
#include "attack.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

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

static int named(struct sockaddr_un *address, const char *path)
{
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

/* SOCKET FILE: not an attack but who helps one, outside of the target: sends FILE, open, to who connects first. */
static int gives(char **a)
{
	struct sockaddr_un address = {0};
	char room[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec byte = {"x", 1};
	struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int waiting = named(&address, a[0]), fd = open(a[1], O_RDONLY), one;

	alarm(900);
	if (fd < 0 || bind(waiting, (void *)&address, sizeof(address)) || chmod(a[0], 0666) || listen(waiting, 8))
		return verdict("gives", -1);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	one = accept(waiting, NULL, NULL);
	return verdict("gives", sendmsg(one, &message, 0));
}

/* SOCKET: what somebody else sends. */
static int received(char **a)
{
	struct sockaddr_un address = {0};
	char room[CMSG_SPACE(sizeof(int))] = {0}, byte;
	struct iovec into = {&byte, 1};
	struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
	struct cmsghdr *header;
	int one = named(&address, a[0]), fd;

	if (connect(one, (void *)&address, sizeof(address)))
		return 2;
	if (recvmsg(one, &message, 0) < 0)
		return verdict("recvmsg", -1);
	header = CMSG_FIRSTHDR(&message);
	errno = EPERM;
	if (!header || header->cmsg_len < CMSG_LEN(sizeof(int)))
		return verdict("no descriptor came", -1);
	memcpy(&fd, CMSG_DATA(header), sizeof(int));
	return shows("a descriptor that was received", fd);
}

ATTACKS({"descriptor", descriptor, 1}, {"place", place, 1}, {"working_directory", working_directory, 2}, {"connection", connection, 1},
	{"gives", gives, 2}, {"received", received, 1})
