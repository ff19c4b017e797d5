// SPDX-License-Identifier: GPL-2.0-only
/* What is typed into a terminal, a shell that reads there runs outside of all rules. */
#include "attack.h"
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

/* In a session of one's own, whose terminal the other end of MASTER is. */
static int type_on(const char *name)
{
	int terminal;
	struct termios raw;
	char got = 0;

	setsid();
	terminal = open(name, O_RDWR);
	if (terminal < 0 || (ioctl(terminal, TIOCSCTTY, 0) && errno != EPERM) || tcgetattr(terminal, &raw))
		return UNTRIED;
	cfmakeraw(&raw);
	tcsetattr(terminal, TCSANOW, &raw);
	if (ioctl(terminal, TIOCSTI, "x"))
		return verdict("TIOCSTI", -1);
	return read(terminal, &got, 1) == 1 && got == 'x' ? verdict("TIOCSTI", 0) : REFUSED;
}

static int types(char **a)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), status;
	pid_t child;

	(void)a;
	if (master < 0 || grantpt(master) || unlockpt(master))
		return UNTRIED;
	child = fork();
	if (!child)
		_exit(type_on(ptsname(master)));
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : UNTRIED;
}

ATTACKS({"types", types, 0})
