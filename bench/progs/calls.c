/* calls getppid|mixed N: makes N rounds of calls and prints the nanoseconds per round. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void mixed(void)
{
	char data[512];
	struct stat status;
	int fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);

	fstat(fd, &status);
	if (read(fd, data, sizeof(data)) < 0)
		abort();
	close(fd);
	syscall(SYS_getppid);
}

int main(int argc, char **argv)
{
	int only_getppid = argc > 1 && !strcmp(argv[1], "getppid");
	long rounds = argc > 2 ? atol(argv[2]) : 1;
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (long i = 0; i < rounds; i++) {
		if (only_getppid)
			syscall(SYS_getppid);
		else
			mixed();
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.1f\n", ((end.tv_sec - start.tv_sec) * 1e9 + end.tv_nsec - start.tv_nsec) / rounds);
	return 0;
}
