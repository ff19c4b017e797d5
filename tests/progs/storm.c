/* SPDX-License-Identifier: GPL-2.0-only */
/* storm COUNT WIDTH: children that each make one call of their own, getpgid(1000000 + i), WIDTH of them at a time. */
#include "expect.h"
#include <sys/wait.h>

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 100, width = argc > 2 ? atoi(argv[2]) : 1, alive = 0;

	for (int i = 0; i < count; i++) {
		if (alive == width && wait(NULL) > 0)
			alive--;
		switch (fork()) {
		case 0:
			syscall(SYS_getpgid, 1000000 + i);
			_exit(0);
		case -1:
			return 1;
		}
		alive++;
	}
	while (wait(NULL) > 0)
		;
	return 0;
}
