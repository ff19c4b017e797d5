/* SPDX-License-Identifier: GPL-2.0-only */
/* openreadclose CALLS: open, read and close of one file in a loop, CALLS calls in all, and nothing else. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) / 3 : 1000;
	char data[64];

	for (long i = 0; i < rounds; i++) {
		int file = open("/etc/hostname", O_RDONLY);

		if (read(file, data, sizeof(data)) < 0)
			return 1;
		close(file);
	}
	return 0;
}
