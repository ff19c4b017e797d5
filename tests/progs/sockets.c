/* SPDX-License-Identifier: GPL-2.0-only */
/* Sockets of the families unix, inet and inet6, all on this machine. */
#include "expect.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static void inet(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, peer;
	socklen_t size = sizeof(address);
	int listener = EXPECT(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP), "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP)");
	int client, server, one = 1, server_port, client_port;
	char buffer[16];

	EXPECT(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), "setsockopt(%d, SOL_SOCKET, SO_REUSEADDR, [1], 4)", listener);
	EXPECT(bind(listener, (void *)&address, size), "bind(%d, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(\"127.0.0.1\")}, 16)", listener);
	EXPECT(listen(listener, 5), "listen(%d, 5)", listener);
	getsockname(listener, (void *)&address, &size);
	server_port = ntohs(address.sin_port);
	say("getsockname(%d, {sa_family=AF_INET, sin_port=htons(%d), sin_addr=inet_addr(\"127.0.0.1\")}, [16]) = 0\n", listener, server_port);
	client = EXPECT(socket(AF_INET, SOCK_STREAM, 0), "socket(AF_INET, SOCK_STREAM, IPPROTO_IP)");
	EXPECT(connect(client, (void *)&address, size), "connect(%d, {sa_family=AF_INET, sin_port=htons(%d), sin_addr=inet_addr(\"127.0.0.1\")}, 16)", client, server_port);
	server = accept4(listener, (void *)&peer, &size, SOCK_NONBLOCK);
	client_port = ntohs(peer.sin_port);
	say("accept4(%d, {sa_family=AF_INET, sin_port=htons(%d), sin_addr=inet_addr(\"127.0.0.1\")}, [16], SOCK_NONBLOCK) = %d\n", listener, client_port, server);
	EXPECT(getpeername(server, (void *)&peer, &size), "getpeername(%d, {sa_family=AF_INET, sin_port=htons(%d), sin_addr=inet_addr(\"127.0.0.1\")}, [16])", server, client_port);
	EXPECT(sendto(client, "request", 7, MSG_NOSIGNAL, NULL, 0), "sendto(%d, \"request\", 7, MSG_NOSIGNAL, NULL, 0)", client);
	EXPECT(recvfrom(server, buffer, 16, 0, NULL, NULL), "recvfrom(%d, \"request\", 16, 0, NULL, NULL)", server);
	EXPECT(recvfrom(server, buffer, 16, MSG_DONTWAIT, NULL, NULL), "recvfrom(%d, %p, 16, MSG_DONTWAIT, NULL, NULL)", server, buffer);
	EXPECT(shutdown(client, SHUT_WR), "shutdown(%d, SHUT_WR)", client);
	EXPECT(getsockopt(client, SOL_SOCKET, SO_TYPE, &one, &size), "getsockopt(%d, SOL_SOCKET, SO_TYPE, [SOCK_STREAM], [16 => 4])", client);
}

static void inet6(void)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(9) };
	int fd = EXPECT(socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDP), "socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDP)");

	EXPECT(sendto(fd, "x", 1, 0, (void *)&address, sizeof(address)),
	       "sendto(%d, \"x\", 1, 0, {sa_family=AF_INET6, sin6_port=htons(9), sin6_flowinfo=htonl(0), "
	       "inet_pton(AF_INET6, \"::1\", &sin6_addr), sin6_scope_id=0}, 28)", fd);
}

static void local(void)
{
	struct sockaddr_un address = { AF_UNIX, "socket" }, hidden = { AF_UNIX, "\0hidden" }, from;
	socklen_t short_size = offsetof(struct sockaddr_un, sun_path) + 7, size = sizeof(from);
	int named = EXPECT(socket(AF_UNIX, SOCK_DGRAM, 0), "socket(AF_UNIX, SOCK_DGRAM, 0)"), other;
	char buffer[8];

	EXPECT(bind(named, (void *)&address, sizeof(address)), "bind(%d, {sa_family=AF_UNIX, sun_path=\"socket\"}, 110)", named);
	other = EXPECT(socket(AF_UNIX, SOCK_DGRAM, 0), "socket(AF_UNIX, SOCK_DGRAM, 0)");
	EXPECT(bind(other, (void *)&hidden, short_size), "bind(%d, {sa_family=AF_UNIX, sun_path=@\"hidden\"}, 9)", other);
	EXPECT(sendto(other, "hey", 3, 0, (void *)&address, sizeof(address)), "sendto(%d, \"hey\", 3, 0, {sa_family=AF_UNIX, sun_path=\"socket\"}, 110)", other);
	EXPECT(recvfrom(named, buffer, 8, 0, (void *)&from, &size), "recvfrom(%d, \"hey\", 8, 0, {sa_family=AF_UNIX, sun_path=@\"hidden\"}, [110 => 9])", named);
	EXPECT(connect(other, (void *)&from, 1), "connect(%d, %p, 1)", other, &from);
}

static void messages(void)
{
	union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr header; } control = {};
	struct iovec iov = { "with a descriptor", 17 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	char buffer[32];
	int fds[2], passed;

	EXPECT(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), "socketpair(AF_UNIX, SOCK_SEQPACKET, 0, [9, 10])");
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	passed = 1;
	memcpy(CMSG_DATA(&control.header), &passed, sizeof(passed));
	EXPECT(sendmsg(9, &message, 0), "sendmsg(9, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base=\"with a descriptor\", iov_len=17}], msg_iovlen=1, "
	       "msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[1]}], msg_controllen=24, msg_flags=0}, 0)");
	iov = (struct iovec){ buffer, sizeof(buffer) };
	EXPECT(recvmsg(10, &message, MSG_CMSG_CLOEXEC), "recvmsg(10, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base=\"with a descriptor\", iov_len=32}], "
	       "msg_iovlen=1, msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[11]}], msg_controllen=24, "
	       "msg_flags=MSG_CMSG_CLOEXEC}, MSG_CMSG_CLOEXEC)");
	EXPECT(recvmsg(10, &message, MSG_DONTWAIT), "recvmsg(10, {msg_namelen=0}, MSG_DONTWAIT)");
}

int main(int argc, char **argv)
{
	begin("sockets");
	inet();
	inet6();
	local();
	messages();
	finish("sockets", argv[argc - 1]);
	return 0;
}
