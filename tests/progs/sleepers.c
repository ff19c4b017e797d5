/*
 * sleepers N: N processes, each asleep in read, accept, futex or nanosleep; says "ready" when all are on their way. On a line from standard
 * input all are woken; says how many woke with the result that the call should have, "woke N". Ends the processes that it made, whatever happens.
 */
#include <errno.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int pipe_ends[2], listener, *word;
static struct sockaddr_in address = { .sin_family = AF_INET };

static void nothing(int number)
{
	(void)number;
}

static int sleep_in(int which)
{
	struct timespec hour = { 3600, 0 };
	char byte;

	switch (which) {
	case 0:
		return read(pipe_ends[0], &byte, 1) == 1;
	case 1:
		return accept(listener, NULL, NULL) >= 0;
	case 2:
		return syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0) == 0 || errno == EAGAIN;
	default:
		return nanosleep(&hour, NULL) == -1 && errno == EINTR;
	}
}

static void wake(int which, pid_t pid)
{
	if (which == 0 && write(pipe_ends[1], "x", 1) != 1)
		perror("write");
	if (which == 1) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
			perror("connect");
		close(fd);
	}
	if (which == 3)
		kill(pid, SIGUSR1);
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1000, i, status, woke = 0;
	pid_t *pids = calloc(count, sizeof(*pids));
	socklen_t size = sizeof(address);
	char line[16];

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (pipe(pipe_ends) || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096) ||
	    getsockname(listener, (struct sockaddr *)&address, &size))
		return 2;
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = nothing }, NULL);
	for (i = 0; i < count; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(!sleep_in(i % 4));
		}
		if (pids[i] < 0)
			return 3;
	}
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 4;
	*word = 1;
	syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
	for (i = 0; i < count; i++)
		wake(i % 4, pids[i]);
	for (i = 0; i < count; i++)
		woke += waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	printf("woke %d\n", woke);
	return 0;
}
