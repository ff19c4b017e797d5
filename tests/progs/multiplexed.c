// SPDX-License-Identifier: GPL-2.0-only
/* i386's socketcall and ipc, made by their number: what a trace shows is the call that it is. */
#include "expect.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CALL(number, ...) syscall(SYS_socketcall, number, (long[6]){ __VA_ARGS__ })

static void sockets(void)
{
	struct sockaddr_un address = { AF_UNIX, "door" }, from;
	struct sockaddr_in nowhere = { .sin_family = AF_INET, .sin_port = 0, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(from);
	struct iovec iov = { "vector", 6 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	char buffer[8];
	int fd, other, fds[2], one = 1;

	fd = EXPECT(CALL(1, AF_UNIX, SOCK_STREAM, 0), "socket(AF_UNIX, SOCK_STREAM, 0)");
	EXPECT(CALL(2, fd, (long)&address, sizeof(address)), "bind(%d, {sa_family=AF_UNIX, sun_path=\"door\"}, 110)", fd);
	EXPECT(CALL(4, fd, 5), "listen(%d, 5)", fd);
	other = EXPECT(CALL(1, AF_UNIX, SOCK_STREAM, 0), "socket(AF_UNIX, SOCK_STREAM, 0)");
	EXPECT(CALL(3, other, (long)&address, sizeof(address)), "connect(%d, {sa_family=AF_UNIX, sun_path=\"door\"}, 110)", other);
	EXPECT(CALL(5, fd, (long)&from, (long)&size), "accept(%d, {sa_family=AF_UNIX}, [110 => 2])", fd);
	size = sizeof(from);
	EXPECT(CALL(7, other, (long)&from, (long)&size), "getpeername(%d, {sa_family=AF_UNIX, sun_path=\"door\"}, [110 => 7])", other);
	EXPECT(CALL(8, AF_UNIX, SOCK_DGRAM, 0, (long)fds), "socketpair(AF_UNIX, SOCK_DGRAM, 0, [%d, %d])", other + 2, other + 3);
	EXPECT(CALL(9, fds[0], (long)"hey", 3, MSG_DONTWAIT), "send(%d, \"hey\", 3, MSG_DONTWAIT)", fds[0]);
	EXPECT(CALL(10, fds[1], (long)buffer, 8, 0), "recv(%d, \"hey\", 8, 0)", fds[1]);
	EXPECT(CALL(11, fds[0], (long)"you", 3, 0, 0, 0), "sendto(%d, \"you\", 3, 0, NULL, 0)", fds[0]);
	size = sizeof(from);
	EXPECT(CALL(12, fds[1], (long)buffer, 8, 0, (long)&from, (long)&size), "recvfrom(%d, \"you\", 8, 0, %p, [110 => 0])", fds[1], &from);
	EXPECT(CALL(16, fds[0], (long)&message, 0), "sendmsg(%d, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base=\"vector\", iov_len=6}], "
	       "msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0)", fds[0]);
	EXPECT(CALL(14, fds[0], SOL_SOCKET, SO_PASSCRED, (long)&one, 4), "setsockopt(%d, SOL_SOCKET, SO_PASSCRED, [1], 4)", fds[0]);
	size = 4;
	EXPECT(CALL(15, fds[0], SOL_SOCKET, SO_TYPE, (long)&one, (long)&size), "getsockopt(%d, SOL_SOCKET, SO_TYPE, [SOCK_DGRAM], [4])", fds[0]);
	EXPECT(CALL(13, fds[0], SHUT_RDWR), "shutdown(%d, SHUT_RDWR)", fds[0]);
	EXPECT(CALL(3, -1, (long)&nowhere, sizeof(nowhere)), "connect(-1, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(\"127.0.0.1\")}, 16)");
	EXPECT(syscall(SYS_socketcall, 99, &one), "socketcall(0x63 /* SYS_??? */, %p)", &one);
	EXPECT(syscall(SYS_socketcall, 3, 8), "socketcall(SYS_CONNECT, 0x8<fault>)");
}

static void system_v(void)
{
	struct { long type; char text[8]; } message = { 7, "message" };
	struct sembuf operation = { 0, 1, 0 };
	int id;

	id = EXPECT(syscall(SYS_ipc, 13, IPC_PRIVATE, IPC_CREAT | 0600, 0, 0, 0), "msgget(IPC_PRIVATE, IPC_CREAT|0600)");
	EXPECT(syscall(SYS_ipc, 14, id, IPC_RMID, 0, 0, 0), "msgctl(%d, IPC_RMID, NULL)", id);
	id = EXPECT(syscall(SYS_ipc, 2, IPC_PRIVATE, 1, 0600, 0, 0), "semget(IPC_PRIVATE, 1, 0600)");
	EXPECT(syscall(SYS_ipc, 1, id, 1, 0, &operation, 0), "semop(%d, [{sem_num=0, sem_op=1, sem_flg=0}], 1)", id);
	EXPECT(syscall(SYS_ipc, 3, id, 0, IPC_RMID, &(long){ 0 }, 0), "semctl(%d, 0, IPC_RMID, NULL)", id);
	id = EXPECT(syscall(SYS_ipc, 23, IPC_PRIVATE, 4096, 0600, 0, 0), "shmget(IPC_PRIVATE, 4096, 0600)");
	EXPECT(syscall(SYS_ipc, 24, id, IPC_RMID, 0, 0, 0), "shmctl(%d, IPC_RMID, NULL)", id);
	EXPECT(syscall(SYS_ipc, 11, -1, 8, 0, &message, 0), "msgsnd(-1, {mtype=7, ...}, 8, 0)");
}

int main(int argc, char **argv)
{
	unlink("door");
	begin("multiplexed");
	sockets();
	system_v();
	finish("multiplexed", argv[argc - 1]);
	return 0;
}
