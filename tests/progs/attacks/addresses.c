// SPDX-License-Identifier: GPL-2.0-only
/* Addresses that mean what a rule is on, spelled otherwise, and what meets others without a bind. PORT is on 127.0.0.1, and listened at. */
#include "attack.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#define SCTP_SOCKOPT_CONNECTX 110	/* since 2.6.33 */

/* PORT: `::` from a socket that is bound to ::ffff:0.0.0.0 is 127.0.0.1. */
static int mapped_any(char **a)
{
	struct sockaddr_in6 own = {.sin6_family = AF_INET6}, to = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(a[0]))};
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	inet_pton(AF_INET6, "::ffff:0.0.0.0", &own.sin6_addr);
	if (fd < 0)
		return errno == EAFNOSUPPORT ? UNTRIED : verdict("socket", -1);
	if (bind(fd, (void *)&own, sizeof(own)))
		return verdict("bind", -1);
	return verdict("connect to ::", connect(fd, (void *)&to, sizeof(to)));
}

/* PORT: SCTP connects by a socket option, too. */
static int sctp_option(char **a)
{
	struct sockaddr_in own = {.sin_family = AF_INET}, to = own;
	int waiting = socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP), fd = socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP);
	socklen_t length = sizeof(to);

	(void)a;
	if (waiting < 0 || fd < 0)
		return errno == EPROTONOSUPPORT || errno == ESOCKTNOSUPPORT ? UNTRIED : verdict("socket", -1);
	own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (listen(waiting, 1) || getsockname(waiting, (void *)&to, &length))
		return verdict("listen", -1);
	to.sin_addr = own.sin_addr;
	return verdict("SCTP_SOCKOPT_CONNECTX", setsockopt(fd, IPPROTO_SCTP, SCTP_SOCKOPT_CONNECTX, &to, sizeof(to)));
}

/* Listens without bind, and takes who comes: a child that stands for others, from before. */
static int listens(char **a)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t length = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)a;
	if (fd < 0)
		return verdict("socket", -1);
	if (listen(fd, 1) || getsockname(fd, (void *)&at, &length))
		return verdict("listen", -1);
	return verdict("listen without bind", ntohs(at.sin_port) ? 0 : -1);
}

ATTACKS({"mapped_any", mapped_any, 1}, {"sctp_option", sctp_option, 1}, {"listens", listens, 0})
