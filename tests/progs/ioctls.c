// SPDX-License-Identifier: GPL-2.0-only
/* What ioctl requests point to, where nothing follows it in memory: structs are as long as the caller's ABI has them. */
#include "expect.h"

#include <arpa/inet.h>
#include <linux/loop.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define PAGE 4096
#ifdef __x86_64__
#define NAME "ioctls"
#else
#define NAME "ioctls-m32"
#endif

/* The bytes, where no memory follows them. */
static void *at_the_end(const void *data, size_t size)
{
	static char *pages;

	if (!pages) {
		pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		mprotect(pages + PAGE, PAGE, PROT_NONE);
	}
	memset(pages, 0x55, PAGE);
	return memcpy(pages + PAGE - size, data, size);
}

static struct ifreq *request(const char *name)
{
	struct ifreq given = {};

	strcpy(given.ifr_name, name);
	return at_the_end(&given, sizeof(given));
}

static void interfaces(int fd)
{
	struct ifreq *asked, index = { .ifr_ifindex = 1 };
	struct ifconf conf = { .ifc_len = 4096 };
	struct ifconf *all;
	long result;

	asked = request("lo");
	result = syscall(SYS_ioctl, fd, SIOCGIFMAP, asked);
	say("ioctl(%d, SIOCGIFMAP, {ifr_name=\"lo\", ifr_map={mem_start=0, mem_end=0, base_addr=0, irq=0, dma=0, port=0}})", fd);
	say_result(result);
	asked = request("lo");
	result = syscall(SYS_ioctl, fd, SIOCGIFMTU, asked);
	say("ioctl(%d, SIOCGIFMTU, {ifr_name=\"lo\", ifr_mtu=%d})", fd, asked->ifr_mtu);
	say_result(result);
	asked = request("no such\n");
	EXPECT(syscall(SYS_ioctl, fd, SIOCGIFADDR, asked), "ioctl(%d, SIOCGIFADDR, {ifr_name=\"no such\\n\"})", fd);
	asked = at_the_end(&index, sizeof(index));
	EXPECT(syscall(SYS_ioctl, fd, SIOCGIFNAME, asked), "ioctl(%d, SIOCGIFNAME, {ifr_ifindex=1, ifr_name=\"lo\"})", fd);
	all = at_the_end(&conf, sizeof(conf));
	result = syscall(SYS_ioctl, fd, SIOCGIFCONF, all);
	say("ioctl(%d, SIOCGIFCONF, {ifc_len=%d, ifc_buf=NULL})", fd, all->ifc_len);
	say_result(result);
}

static void disks(int fd)
{
	struct loop_info old = { .lo_number = 3, .lo_offset = 512, .lo_flags = LO_FLAGS_READ_ONLY, .lo_name = "x" };
	struct loop_info keyed = { .lo_encrypt_type = LO_CRYPT_XOR, .lo_encrypt_key_size = 3, .lo_encrypt_key = "key" };
	struct loop_info64 fresh = { .lo_offset = 512, .lo_flags = LO_FLAGS_AUTOCLEAR, .lo_file_name = "/tmp/x" };
	void *part;

	EXPECT(syscall(SYS_ioctl, fd, LOOP_SET_STATUS, at_the_end(&old, sizeof(old))),
	       "ioctl(%d, LOOP_SET_STATUS, {lo_number=3, lo_offset=0x200, lo_flags=LO_FLAGS_READ_ONLY, lo_name=\"x\", ...})", fd);
	EXPECT(syscall(SYS_ioctl, fd, LOOP_SET_STATUS, at_the_end(&keyed, sizeof(keyed))),
	       "ioctl(%d, LOOP_SET_STATUS, {lo_number=0, lo_offset=0, lo_encrypt_type=LO_CRYPT_XOR, lo_encrypt_key_size=3, "
	       "lo_flags=0, lo_name=\"\", lo_encrypt_key=\"key\", ...})", fd);
	EXPECT(syscall(SYS_ioctl, fd, LOOP_SET_STATUS64, at_the_end(&fresh, sizeof(fresh))),
	       "ioctl(%d, LOOP_SET_STATUS64, {lo_offset=0x200, lo_number=0, lo_flags=LO_FLAGS_AUTOCLEAR, lo_file_name=\"/tmp/x\", ...})", fd);
	part = at_the_end(&fresh, 100);
	EXPECT(syscall(SYS_ioctl, fd, LOOP_SET_STATUS64, part), "ioctl(%d, LOOP_SET_STATUS64, %p<fault>)", fd, part);
}

int main(int argc, char **argv)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	at_the_end("", 1);
	begin(NAME);
	interfaces(fd);
	disks(fd);
	finish(NAME, argv[argc - 1]);
	return 0;
}
