/* SPDX-License-Identifier: GPL-2.0-only */
/* A server for one request; it prints its port. Built with -static: no library to hook, only system calls. */
#include "expect.h"
#include <netinet/in.h>
#include <sys/socket.h>

int main(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client;
	char request[512];

	if (bind(listener, (void *)&address, size) || listen(listener, 5) || getsockname(listener, (void *)&address, &size))
		return 1;
	dprintf(1, "port %d\n", ntohs(address.sin_port));
	client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (read(client, request, sizeof(request)) <= 0)
		return 1;
	dprintf(client, "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nyes");
	close(client);
	return 0;
}
