/* Makes system calls whose numbers are known: THREADS threads × CALLS each of getppid, a failing close, write and read of 10 bytes. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static long calls;

static void *work(void *unused)
{
	int null = open("/dev/null", O_WRONLY), zero = open("/dev/zero", O_RDONLY);
	char data[10] = "";

	for (long i = 0; i < calls; i++) {
		syscall(SYS_getppid);
		syscall(SYS_close, -1);
		syscall(SYS_write, null, data, sizeof(data));
		syscall(SYS_read, zero, data, sizeof(data));
	}
	return unused;
}

int main(int argc, char **argv)
{
	int threads = argc > 2 ? atoi(argv[1]) : 8;
	pthread_t ids[64];

	calls = argc > 2 ? atol(argv[2]) : 12500;
	for (int i = 0; i < threads && i < 64; i++)
		pthread_create(&ids[i], NULL, work, NULL);
	for (int i = 0; i < threads && i < 64; i++)
		pthread_join(ids[i], NULL);
	return 0;
}
