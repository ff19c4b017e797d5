"""Starting the command that is to be traced: forked early, held before its execve until the tracer is attached."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from isotrace.errors import IsotraceError
from isotrace.process import children
from isotrace.process.caller import Caller, caller
from isotrace.process.telling import say

_PATIENCE, _TICK = 2.0, 0.05  # seconds that a command gets between SIGTERM and SIGKILL; between two looks


class NotStarted(IsotraceError):
    """The command could not be executed; the status is the shell's: 127 not found, 126 not executable."""

    def __init__(self, command: str, reason: str, status: int) -> None:
        super().__init__(f"cannot run {command!r}: {reason}", "check the name, or give its full path")
        self.status = status


def find(command: Sequence[str]) -> str:
    """The file that the command names, searched in PATH. Raises ``NotStarted``."""
    path = shutil.which(command[0])
    if path:
        return path
    if os.path.sep in command[0] and os.path.exists(command[0]):
        raise NotStarted(command[0], "not an executable file", 126)
    raise NotStarted(command[0], "no such command", 127)


def execv(path: str, argv: Sequence[str]) -> None:
    """Become the program. Raises ``OSError``."""
    os.execv(path, list(argv))


class Command:
    """A child process that waits to become the command.

    Its privileges are those of whoever called sudo; signal dispositions and mask are the defaults.
    """

    def __init__(
        self,
        command: Sequence[str],
        execute: Callable[[str, Sequence[str]], object] = execv,
        output: int | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        """Fork the child. Raises ``NotStarted``, or ``UsageError`` where sudo's variables make no sense.

        ``execute(path, argv)`` runs in it, last of all, and must not return. With ``output``, a descriptor, it reads
        nothing and writes there, in a session without a terminal: that is somebody else's. ``before()`` runs in it while it
        has isotrace's privileges.
        """
        self._name = command[0]
        path, user = find(command), caller()
        start, self._start = os.pipe()
        self._failure, failure = os.pipe()
        self.pid = children.fork()
        if self.pid == 0:
            os.close(self._start)
            os.close(self._failure)
            if output is not None:
                _redirect(output)
            _become(path, command, user, start, failure, before, execute, lives_on=output is None)
        os.close(start)
        os.close(failure)
        self._status: int | None = None

    def start(self) -> None:
        """Let the child call execve. Raises ``NotStarted`` when that fails."""
        os.write(self._start, b"x")
        os.close(self._start)
        with os.fdopen(self._failure) as answer:
            text = answer.read()
        if text:
            os.waitpid(self.pid, 0)
            self._status = 126
            raise NotStarted(self._name, text, 126)

    def poll(self) -> int | None:
        """The exit status once the command has ended (128 + n when signal n killed it), None before."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            # A command that asks for it (PTRACE_TRACEME) is traced by its parent, who is then told of its stops as well.
            if pid and not os.WIFSTOPPED(status):
                code = os.waitstatus_to_exitcode(status)
                self._status = code if code >= 0 else 128 - code
        return self._status

    def send(self, number: int) -> bool:
        """Pass a signal on; False when the command has ended."""
        if self._status is None:
            os.kill(self.pid, number)
        return self._status is None

    def abandon(self) -> None:
        """End a child that was never started; one that failed to start has ended by itself."""
        if self._status is not None:
            return
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def end(self) -> None:
        """End the command if it still runs: SIGTERM, and SIGKILL where that is not enough."""
        if self.poll() is not None:
            return
        say(f"the command (process {self.pid}) is ended")
        self.send(signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(_TICK)
        if self.poll() is None:
            self.send(signal.SIGKILL)
            self.poll()


def _redirect(output: int) -> None:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _become(
    path: str,
    command: Sequence[str],
    user: Caller | None,
    start: int,
    failure: int,
    before: Callable[[], object],
    execute: Callable[[str, Sequence[str]], object],
    lives_on: bool,
) -> NoReturn:
    """``lives_on``: also when isotrace has ended. A command whose terminal is somebody else's hears of no hang-up."""
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and execve would keep that
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        children.dumpable(True)
        before()
        if user:
            user.become()
        if os.read(start, 1):
            if lives_on:
                children.live_on()
            execute(path, command)
    except OSError as error:
        os.write(failure, (error.strerror or "unknown error").encode())
    finally:
        os._exit(126)
