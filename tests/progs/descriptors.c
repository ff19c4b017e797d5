/* SPDX-License-Identifier: GPL-2.0-only */
/* What descriptors are when a call begins or has made them (log -y, and -yy with an argument): files also once renamed or deleted, pipes, sockets. */
#include "expect.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char here[4096];
static int details;

static char *room(void)
{
	static char texts[16][8192];
	static unsigned turn;

	return texts[turn++ % 16];
}

/* A file of this directory. */
static const char *at(const char *name)
{
	char *text = room();

	sprintf(text, "<%s%s%s>", here, *name ? "/" : "", name);
	return text;
}

/* What has an inode's number for a name; with -yy a socket's protocol is said. */
static const char *by_inode(const char *kind, int fd)
{
	struct stat found;
	char *text = room();

	fstat(fd, &found);
	sprintf(text, "<%s:[%lu]>", kind, (unsigned long)found.st_ino);
	return text;
}

static const char *socket_is(const char *protocol, int fd)
{
	return by_inode(details ? protocol : "socket", fd);
}

/* A call that makes a descriptor, which `file` says what it is. */
#define MADE(call, file, ...) ({ int made_fd = (call); say(__VA_ARGS__); say(" = %d%s\n", made_fd, file); made_fd; })

static void files(void)
{
	int fd, dir, other;
	char byte;

	mkdir("place", 0755);
	mkdir("else", 0755);
	fd = MADE(openat(AT_FDCWD, "place/file", O_RDWR | O_CREAT, 0644), at("place/file"), "openat(AT_FDCWD%s, \"place/file\", O_RDWR|O_CREAT, 0644)", at(""));
	EXPECT(pwrite(fd, "abc", 3, 0), "pwrite64(%d%s, \"abc\", 3, 0)", fd, at("place/file"));
	dir = MADE(openat(AT_FDCWD, "place", O_RDONLY | O_DIRECTORY), at("place"), "openat(AT_FDCWD%s, \"place\", O_RDONLY|O_DIRECTORY)", at(""));
	other = MADE(openat(dir, "file", O_RDONLY), at("place/file"), "openat(%d%s, \"file\", O_RDONLY)", dir, at("place"));
	MADE(dup2(other, 40), at("place/file"), "dup2(%d%s, 40)", other, at("place/file"));
	MADE(dup2(dir, 40), at("place"), "dup2(%d%s, 40%s)", dir, at("place"), at("place/file"));
	MADE(fcntl(40, F_DUPFD, 50), at("place"), "fcntl(40%s, F_DUPFD, 50)", at("place"));
	EXPECT(fcntl(50, F_GETFD), "fcntl(50%s, F_GETFD)", at("place"));
	EXPECT(close(40), "close(40%s)", at("place"));
	EXPECT(close(40), "close(40)");
	EXPECT(close(1 << 30), "close(%d)", 1 << 30);
	rename("place", "else/place");
	EXPECT(pread(fd, &byte, 1, 0), "pread64(%d%s, \"a\", 1, 0)", fd, at("else/place/file"));
	EXPECT(unlinkat(dir, "file", 0), "unlinkat(%d%s, \"file\", 0)", dir, at("else/place"));
	EXPECT(pwrite(fd, "x", 1, 0), "pwrite64(%d%s(deleted), \"x\", 1, 0)", fd, at("else/place/file"));
	EXPECT(close(other), "close(%d%s(deleted))", other, at("else/place/file"));
	EXPECT(copy_file_range(fd, NULL, 50, NULL, 1, 0), "copy_file_range(%d%s(deleted), NULL, 50%s, NULL, 1, 0)", fd, at("else/place/file"), at("else/place"));
	EXPECT(fchdir(dir), "fchdir(%d%s)", dir, at("else/place"));
	MADE(openat(AT_FDCWD, "a<b>7\n (deleted)", O_RDWR | O_CREAT, 0600), at("else/place/a\\74b\\0767\\n (deleted)"),
	     "openat(AT_FDCWD%s, \"a<b>7\\n (deleted)\", O_RDWR|O_CREAT, 0600)", at("else/place"));
	if (chdir("../..") || mkdir("gone", 0700) || chdir("gone") || rmdir("../gone"))
		abort();
	EXPECT(openat(AT_FDCWD, "x", O_RDONLY), "openat(AT_FDCWD%s(deleted), \"x\", O_RDONLY)", at("gone"));
	if (chdir(here))
		abort();
}

/* A path that is longer than there is room for: the names from its end are there. */
static void deep(void)
{
	char name[251], *text = room();
	int fd;

	memset(name, 'd', 250);
	name[250] = 0;
	mkdir("deep", 0700);
	fd = open("deep", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 5; i++) {
		if (mkdirat(fd, name, 0700))
			abort();
		fd = openat(fd, name, O_RDONLY | O_DIRECTORY);
	}
	sprintf(text, "<.../%s/%s/%s>", name, name, name);
	EXPECT(fsync(fd), "fsync(%d%s)", fd, text);
}

static void nameless(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int pair[2], fd, poll, null;

	if (pipe2(pair, O_CLOEXEC))
		abort();
	say("pipe2([%d%s, %d%s], O_CLOEXEC) = 0\n", pair[0], by_inode("pipe", pair[0]), pair[1], by_inode("pipe", pair[1]));
	EXPECT(write(pair[1], "x", 1), "write(%d%s, \"x\", 1)", pair[1], by_inode("pipe", pair[1]));
	poll = MADE(epoll_create1(EPOLL_CLOEXEC), "<anon_inode:[eventpoll]>", "epoll_create1(EPOLL_CLOEXEC)");
	EXPECT(epoll_ctl(poll, EPOLL_CTL_ADD, pair[0], &event), "epoll_ctl(%d<anon_inode:[eventpoll]>, EPOLL_CTL_ADD, %d%s, {events=EPOLLIN, data={u32=0, u64=0}})",
	       poll, pair[0], by_inode("pipe", pair[0]));
	fd = MADE(eventfd(3, 0), "<anon_inode:[eventfd]>", "eventfd2(3, 0)");
	EXPECT(fsync(fd), "fsync(%d<anon_inode:[eventfd]>)", fd);
	MADE(syscall(SYS_memfd_create, "memory", 0), "</memfd:memory>(deleted)", "memfd_create(\"memory\", 0)");
	if (details) {
		char *text = room();

		sprintf(text, "<pid:%d>", getpid());
		MADE(syscall(SYS_pidfd_open, getpid(), 0), text, "pidfd_open(%d, 0)", getpid());
	} else {
		MADE(syscall(SYS_pidfd_open, getpid(), 0), "<anon_inode:[pidfd]>", "pidfd_open(%d, 0)", getpid());
	}
	null = MADE(openat(AT_FDCWD, "/dev/null", O_RDWR), details ? "</dev/null<char 1:3>>" : "</dev/null>", "openat(AT_FDCWD%s, \"/dev/null\", O_RDWR)", at(""));
	EXPECT(write(null, "x", 1), "write(%d%s, \"x\", 1)", null, details ? "</dev/null<char 1:3>>" : "</dev/null>");
	fd = open("/proc/self/ns/mnt", O_RDONLY);
	say("openat(AT_FDCWD%s, \"/proc/self/ns/mnt\", O_RDONLY) = %d%s\n", at(""), fd, by_inode("mnt", fd));
}

static const char *ends(const char *kind, int fd, int port, int peer)
{
	char *text = room();

	if (!details)
		return socket_is("", fd);
	sprintf(text, peer ? "<%s:[127.0.0.1:%d->127.0.0.1:%d]>" : "<%s:[127.0.0.1:%d]>", kind, port, peer);
	return text;
}

static int port_of(int fd)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);

	if (getsockname(fd, (void *)&address, &size))
		abort();
	return ntohs(address.sin_port);
}

static void addresses(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener, client, server, udp, port, port_too;

	listener = socket(AF_INET, SOCK_STREAM, 0);
	say("socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = %d%s\n", listener, socket_is("TCP", listener));
	EXPECT(bind(listener, (void *)&address, sizeof(address)), "bind(%d%s, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(\"127.0.0.1\")}, 16)",
	       listener, socket_is("TCP", listener));
	port = port_of(listener);
	address.sin_port = htons(port);
	EXPECT(listen(listener, 5), "listen(%d%s, 5)", listener, ends("TCP", listener, port, 0));
	client = socket(AF_INET, SOCK_STREAM, 0);
	say("socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = %d%s\n", client, socket_is("TCP", client));
	EXPECT(connect(client, (void *)&address, sizeof(address)), "connect(%d%s, {sa_family=AF_INET, sin_port=htons(%d), sin_addr=inet_addr(\"127.0.0.1\")}, 16)",
	       client, socket_is("TCP", client), port);
	port_too = port_of(client);
	server = accept(listener, NULL, NULL);
	say("accept(%d%s, NULL, NULL) = %d%s\n", listener, ends("TCP", listener, port, 0), server, ends("TCP", server, port, port_too));
	EXPECT(sendto(client, "x", 1, 0, NULL, 0), "sendto(%d%s, \"x\", 1, 0, NULL, 0)", client, ends("TCP", client, port_too, port));
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	say("socket(AF_INET, SOCK_DGRAM, IPPROTO_IP) = %d%s\n", udp, socket_is("UDP", udp));
	address.sin_port = 0;
	if (bind(udp, (void *)&address, sizeof(address)))
		abort();
	say("bind(%d%s, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = 0\n", udp, socket_is("UDP", udp));
	EXPECT(shutdown(udp, SHUT_RD), "shutdown(%d%s, SHUT_RD)", udp, ends("UDP", udp, port_of(udp), 0));
}

static unsigned long inode(int fd)
{
	struct stat found;

	fstat(fd, &found);
	return found.st_ino;
}

static const char *local(int fd, int peer, const char *path)
{
	char *text = room();

	if (!details)
		return socket_is("", fd);
	if (peer)
		sprintf(text, "<UNIX-STREAM:[%lu->%lu%s]>", inode(fd), inode(peer), path);
	else
		sprintf(text, "<UNIX-STREAM:[%lu%s]>", inode(fd), path);
	return text;
}

static void locals(void)
{
	struct sockaddr_un address = { AF_UNIX, "so ck" }, hidden = { AF_UNIX, "\0hidden" };
	int pair[2], listener, client, server, other;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		abort();
	say("socketpair(AF_UNIX, SOCK_STREAM, 0, [%d%s, %d%s]) = 0\n", pair[0], local(pair[0], pair[1], ""), pair[1], local(pair[1], pair[0], ""));
	EXPECT(sendto(pair[0], "x", 1, 0, NULL, 0), "sendto(%d%s, \"x\", 1, 0, NULL, 0)", pair[0], local(pair[0], pair[1], ""));
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	say("socket(AF_UNIX, SOCK_STREAM, 0) = %d%s\n", listener, local(listener, 0, ""));
	EXPECT(bind(listener, (void *)&address, sizeof(address)), "bind(%d%s, {sa_family=AF_UNIX, sun_path=\"so ck\"}, 110)", listener, local(listener, 0, ""));
	EXPECT(listen(listener, 1), "listen(%d%s, 1)", listener, local(listener, 0, ",\"so ck\""));
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	say("socket(AF_UNIX, SOCK_STREAM, 0) = %d%s\n", client, local(client, 0, ""));
	EXPECT(connect(client, (void *)&address, sizeof(address)), "connect(%d%s, {sa_family=AF_UNIX, sun_path=\"so ck\"}, 110)", client, local(client, 0, ""));
	server = accept(listener, NULL, NULL);
	say("accept(%d%s, NULL, NULL) = %d%s\n", listener, local(listener, 0, ",\"so ck\""), server, local(server, client, ",\"so ck\""));
	EXPECT(shutdown(client, SHUT_RD), "shutdown(%d%s, SHUT_RD)", client, local(client, server, ""));
	other = socket(AF_UNIX, SOCK_STREAM, 0);
	say("socket(AF_UNIX, SOCK_STREAM, 0) = %d%s\n", other, local(other, 0, ""));
	EXPECT(bind(other, (void *)&hidden, offsetof(struct sockaddr_un, sun_path) + 7), "bind(%d%s, {sa_family=AF_UNIX, sun_path=@\"hidden\"}, 9)", other, local(other, 0, ""));
	EXPECT(listen(other, 1), "listen(%d%s, 1)", other, local(other, 0, ",@\"hidden\""));
}

int main(int argc, char **argv)
{
	details = argc > 2;
	if (!getcwd(here, sizeof(here)))
		abort();
	begin("descriptors");
	files();
	deep();
	nameless();
	addresses();
	locals();
	finish("descriptors", argv[1]);
	return 0;
}
