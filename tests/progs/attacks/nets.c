// SPDX-License-Identifier: GPL-2.0-only
/*
 * Addresses that mean this host, sockets that send where no hook looks, and what meets others without connecting.
 *
 * PORT is listened at on every address of this host, by TCP and UDP; FD is a socket that somebody made before the rules began.
 */
#include "attack.h"
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SCTP 132
#define SCTP_DSTADDRV4 7
#define AF_SMC_FAMILY 43
#define RACES 1000

static struct sockaddr_in v4(const char *address, const char *port)
{
	struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};

	inet_pton(AF_INET, address, &made.sin_addr);
	return made;
}

static struct sockaddr_in6 v6(const char *address, const char *port)
{
	struct sockaddr_in6 made = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};

	inet_pton(AF_INET6, address, &made.sin6_addr);
	return made;
}

/* This kernel has no such socket. */
static int absent(void)
{
	return errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT || errno == ESOCKTNOSUPPORT || errno == ENOPROTOOPT;
}

static int made(const char *what, int fd)
{
	return fd < 0 && absent() ? UNTRIED : verdict(what, fd);
}

/* Who is told that nobody listens came there. */
static int came(const char *what, long result)
{
	return verdict(what, result < 0 && (errno == ECONNREFUSED || errno == EINPROGRESS || errno == EISCONN) ? 0 : result);
}

static int meet(const char *what, int fd, const void *to, socklen_t length)
{
	return fd < 0 ? made("socket", fd) : came(what, connect(fd, to, length));
}

/* A guest has no route to the network. */
static int sent(const char *what, long result)
{
	return result < 0 && errno == ENETUNREACH ? UNTRIED : verdict(what, result);
}

/* ---- this host, spelled otherwise ---- */

/* PORT ADDRESS: of IPv4, or of IPv6 with a colon */
static int address(char **a)
{
	struct sockaddr_in to = v4(a[1], a[0]);
	struct sockaddr_in6 to6 = v6(a[1], a[0]);

	if (strchr(a[1], ':'))
		return meet(a[1], socket(AF_INET6, SOCK_STREAM, 0), &to6, sizeof(to6));
	return meet(a[1], socket(AF_INET, SOCK_STREAM, 0), &to, sizeof(to));
}

/* PORT ADDRESS: as above, by a datagram */
static int datagram(char **a)
{
	struct sockaddr_in to = v4(a[1], a[0]);
	struct sockaddr_in6 to6 = v6(a[1], a[0]);
	int six = strchr(a[1], ':') != NULL, fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
	return sent(a[1], six ? sendto(fd, "x", 1, 0, (void *)&to6, sizeof(to6)) : sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)));
}

/* PORT OWN: the unspecified address from a socket bound to OWN is OWN. */
static int bound_any(char **a)
{
	struct sockaddr_in own = v4(a[1], "0"), to = v4("0.0.0.0", a[0]);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (void *)&own, sizeof(own)))
		return UNTRIED;
	return meet("0.0.0.0 from a bound socket", fd, &to, sizeof(to));
}

/* PORT: on a device it is the device's address. */
static int device_any(char **a)
{
	struct sockaddr_in to = v4("0.0.0.0", a[0]);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3))
		return UNTRIED;
	return meet("0.0.0.0 on a device", fd, &to, sizeof(to));
}

/* PORT: `::` is IPv4's loopback for a socket that is bound to one of IPv4's addresses. */
static int mapped_bound(char **a)
{
	struct sockaddr_in6 own = v6("::ffff:0.0.0.0", "0"), to = v6("::", a[0]);
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (void *)&own, sizeof(own)))
		return UNTRIED;
	return meet(":: from a socket of IPv4", fd, &to, sizeof(to));
}

/* PORT: the same by datagrams, with and without a connection */
static int mapped_datagram(char **a)
{
	struct sockaddr_in6 own = v6("::ffff:0.0.0.0", "0"), to = v6("::", a[0]);
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, (void *)&own, sizeof(own)))
		return UNTRIED;
	if (sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)) == 1)
		return verdict("sendto ::", 0);
	return meet("connect to ::", fd, &to, sizeof(to));
}

/* PORT: the family may be left out in sendto (udp(7) takes it for IPv4). */
static int no_family(char **a)
{
	struct sockaddr_in to = v4("127.0.0.1", a[0]);

	to.sin_family = AF_UNSPEC;
	return verdict("sendto without a family", sendto(socket(AF_INET, SOCK_DGRAM, 0), "x", 1, 0, (void *)&to, sizeof(to)));
}

/* PORT: IPv4's sockaddr, in the kernel's largest room, for a socket of IPv6 */
static int crossed(char **a)
{
	struct { struct sockaddr_in to; char rest[112]; } room = {.to = v4("127.0.0.1", a[0])};

	return meet("IPv4 for a socket of IPv6", socket(AF_INET6, SOCK_DGRAM, 0), &room, sizeof(room));
}

/* PORT: with a scope, which says nothing here */
static int scoped(char **a)
{
	struct sockaddr_in6 to = v6("::1", a[0]);

	to.sin6_scope_id = 1;
	return meet("::1%lo", socket(AF_INET6, SOCK_STREAM, 0), &to, sizeof(to));
}

/* PORT: the second message of a sendmmsg goes elsewhere than the first. */
static int second_message(char **a)
{
	struct sockaddr_in to[2] = {v4("127.0.0.1", "9"), v4("127.0.0.1", a[0])};
	struct iovec one = {"x", 1};
	struct mmsghdr messages[2] = {};

	for (int i = 0; i < 2; i++)
		messages[i].msg_hdr = (struct msghdr){.msg_name = &to[i], .msg_namelen = sizeof(to[i]), .msg_iov = &one, .msg_iovlen = 1};
	errno = EPERM;
	return verdict("sendmmsg", sendmmsg(socket(AF_INET, SOCK_DGRAM, 0), messages, 2, 0) == 2 ? 0 : -1);
}

static int racing;
static volatile int over;

static void *binds(void *own)
{
	while (!over)
		if (racing >= 0)
			bind(racing, own, sizeof(struct sockaddr_in));
	return NULL;
}

/* PORT OWN: another thread binds the socket to OWN between the hook and the connection. */
static int bind_race(char **a)
{
	struct sockaddr_in own = v4(a[1], "0"), to = v4("0.0.0.0", a[0]), peer;
	socklen_t length;
	pthread_t thread;

	racing = -1;
	pthread_create(&thread, NULL, binds, &own);
	for (int i = 0; i < RACES; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		racing = fd;
		length = sizeof(peer);
		if (!connect(fd, (void *)&to, sizeof(to)) && !getpeername(fd, (void *)&peer, &length) && peer.sin_addr.s_addr == own.sin_addr.s_addr)
			return verdict("a race with bind", 0);
		racing = -1;
		close(fd);
	}
	over = 1;
	pthread_join(thread, NULL);
	errno = EPERM;
	return verdict("a race with bind", -1);
}

/* ---- TCP by other ways and names ---- */

/* PORT */
static int fast_open(char **a)
{
	struct sockaddr_in to = v4("127.0.0.1", a[0]);

	return verdict("MSG_FASTOPEN", sendto(socket(AF_INET, SOCK_STREAM, 0), "x", 1, MSG_FASTOPEN, (void *)&to, sizeof(to)));
}

/* PORT */
static int repair(char **a)
{
	struct sockaddr_in to = v4("127.0.0.1", a[0]);
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &one, sizeof(one)))
		return UNTRIED;
	return meet("TCP_REPAIR", fd, &to, sizeof(to));
}

/* PORT PROTOCOL TYPE: over IP */
static int protocol(char **a)
{
	struct sockaddr_in to = v4("127.0.0.1", a[0]);

	return meet(a[1], socket(AF_INET, atoi(a[2]), atoi(a[1])), &to, sizeof(to));
}

/* PORT: falls back to TCP */
static int smc(char **a)
{
	struct sockaddr_in to = v4("127.0.0.1", a[0]);

	return meet("SMC", socket(AF_SMC_FAMILY, SOCK_STREAM, 0), &to, sizeof(to));
}

/* ---- sockets that are refused whole ---- */

/* FAMILY TYPE PROTOCOL */
static int family(char **a)
{
	return made("socket", socket(atoi(a[0]), atoi(a[1]), atoi(a[2])));
}

/* A datagram in a packet made by hand. */
static size_t packet(unsigned char *room, const char *port)
{
	unsigned char udp[] = {0x12, 0x34, atoi(port) >> 8, atoi(port), 0, 9, 0, 0, 'x'};
	struct iphdr head = {.ihl = 5, .version = 4, .ttl = 9, .protocol = IPPROTO_UDP, .tot_len = htons(sizeof(head) + sizeof(udp))};

	head.saddr = head.daddr = htonl(INADDR_LOOPBACK);
	memcpy(room, &head, sizeof(head));
	memcpy(room + sizeof(head), udp, sizeof(udp));
	return sizeof(head) + sizeof(udp);
}

/* PORT FD: a raw socket that was there before; its datagram goes elsewhere than the address says */
static int old_raw(char **a)
{
	struct sockaddr_in to = v4("127.0.0.3", "0");
	unsigned char room[64];

	return verdict("a raw socket from before", sendto(atoi(a[1]), room, packet(room, a[0]), 0, (void *)&to, sizeof(to)));
}

/* PORT FD */
static int old_packet(char **a)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(0x0800), .sll_ifindex = if_nametoindex("lo"), .sll_halen = 6};
	unsigned char room[64];

	return verdict("a packet socket from before", sendto(atoi(a[1]), room, packet(room, a[0]), 0, (void *)&to, sizeof(to)));
}

/* FD OPTION PORT: connects, or binds, a socket of SCTP by an option */
static int old_sctp(char **a)
{
	struct sockaddr_in to = v4("127.0.0.1", a[2]);

	return came("SCTP by an option", setsockopt(atoi(a[0]), SCTP, atoi(a[1]), &to, sizeof(to)));
}

/* FD PORT: a further address of the connection in a control message (SCTP_DSTADDRV4) */
static int old_sctp_message(char **a)
{
	struct sockaddr_in to = v4("127.0.0.3", a[1]);
	char room[CMSG_SPACE(4)] = {};
	struct iovec one = {"x", 1};
	struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &one, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
	struct cmsghdr *control = CMSG_FIRSTHDR(&message);
	int fd = atoi(a[0]);

	*control = (struct cmsghdr){.cmsg_len = CMSG_LEN(4), .cmsg_level = SCTP, .cmsg_type = SCTP_DSTADDRV4};
	inet_pton(AF_INET, "127.0.0.1", CMSG_DATA(control));
	return came("SCTP by a control message", sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

/* ---- who comes ---- */

/* Nobody bound it. */
static int listens(char **a)
{
	(void)a;
	return verdict("listen without bind", listen(socket(AF_INET6, SOCK_STREAM, 0), 1));
}

/* FD: a listener from before, at which somebody waits */
static int old_listener(char **a)
{
	return verdict("accept", accept(atoi(a[0]), NULL, NULL));
}

/* ---- what is announced ---- */

/* FD: a connection from before */
static int old_connection(char **a)
{
	return verdict("send", send(atoi(a[0]), "x", 1, MSG_NOSIGNAL));
}

/* PORT: tries until the kernel chooses it. */
static int chosen_port(char **a)
{
	struct sockaddr_in own = v4("127.0.0.1", "0");
	socklen_t length = sizeof(own);

	for (int i = 0; i < 2000000; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);

		own = v4("127.0.0.1", "0");
		if (bind(fd, (void *)&own, sizeof(own)))
			return verdict("bind", -1);
		getsockname(fd, (void *)&own, &length);
		if (ntohs(own.sin_port) / 1000 == atoi(a[0]) / 1000)
			return verdict("a port of the kernel's choosing", 0);
		close(fd);
	}
	return UNTRIED;
}

/* ADDRESS: every packet passes there first. */
static int source_route(char **a)
{
	unsigned char options[12] = {131, 11, 4};
	struct sockaddr_in to = v4("127.0.0.3", "9");
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	inet_pton(AF_INET, a[0], options + 3);
	inet_pton(AF_INET, a[0], options + 7);
	if (setsockopt(fd, IPPROTO_IP, IP_OPTIONS, options, sizeof(options)))
		return UNTRIED;
	return verdict("a source route", sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)));
}

ATTACKS({"address", address, 2}, {"datagram", datagram, 2}, {"bound_any", bound_any, 2}, {"device_any", device_any, 1},
	{"mapped_bound", mapped_bound, 1}, {"mapped_datagram", mapped_datagram, 1}, {"no_family", no_family, 1}, {"crossed", crossed, 1},
	{"scoped", scoped, 1}, {"second_message", second_message, 1}, {"bind_race", bind_race, 2}, {"fast_open", fast_open, 1},
	{"repair", repair, 1}, {"protocol", protocol, 3}, {"smc", smc, 1}, {"family", family, 3}, {"old_raw", old_raw, 2},
	{"old_packet", old_packet, 2}, {"old_sctp", old_sctp, 3}, {"old_sctp_message", old_sctp_message, 2}, {"listens", listens, 0},
	{"old_listener", old_listener, 1}, {"old_connection", old_connection, 1}, {"chosen_port", chosen_port, 1},
	{"source_route", source_route, 1})
