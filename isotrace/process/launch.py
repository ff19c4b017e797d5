"""Starting the command that is to be traced: forked early, held before its execve until the tracer is attached."""

from __future__ import annotations

import errno
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

#: Runs in the command's process in place of ``os.execv(path, argv)``; of several, where one returns the next does. The last
#: argument, called last of all, has the process go on when isotrace ends, which kills it until then. Raises ``OSError``.
Execute = Callable[[str, Sequence[str], Callable[[], object]], object]

_PATIENCE, _TICK = 2.0, 0.05  # seconds that a command gets between SIGTERM and SIGKILL; between two looks


class NotStarted(IsotraceError):
    """The command could not be executed; the status is the shell's: 127 not found, 126 not executable."""

    def __init__(
        self, command: str, reason: str, status: int, hint: str = "check the name, or give its full path"
    ) -> None:
        super().__init__(f"cannot run {command!r}: {reason}", hint)
        self.status = status


def find(command: Sequence[str]) -> str:
    """The file that the command names, searched in PATH. Raises ``NotStarted``."""
    path = shutil.which(command[0])
    if path:
        return path
    if os.path.sep in command[0] and os.path.exists(command[0]):
        raise NotStarted(command[0], "not an executable file", 126)
    raise NotStarted(command[0], "no such command", 127)


def execv(path: str, argv: Sequence[str], let_go: Callable[[], object]) -> None:
    """Become the program. Raises ``OSError``."""
    let_go()
    os.execv(path, list(argv))


class Command:
    """A child process that waits to become the command.

    Its privileges are those of whoever called sudo; signal dispositions and mask are the defaults.
    """

    def __init__(
        self,
        command: Sequence[str],
        execute: Execute = execv,
        output: int | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        """Fork the child. Raises ``NotStarted``, or ``UsageError`` where sudo's variables make no sense.

        ``execute`` runs in it, last of all, and must not return. With ``output``, a descriptor, it reads nothing and writes
        there, in a session without a terminal: that is somebody else's. ``before()`` runs in it while it has isotrace's
        privileges.
        """
        self._name = command[0]
        path, user, isotrace = find(command), caller(), os.getpid()
        start, self._start = os.pipe()
        self._failure, failure = os.pipe()
        self.pid = children.fork()
        if self.pid == 0:
            os.close(self._start)
            os.close(self._failure)
            if output is not None:
                _redirect(output)
            let_go = _nothing if output is not None else children.live_on
            _become(path, command, user, start, failure, before, execute, isotrace, let_go)
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
            raise _not_executed(self._name, text)

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


def _not_executed(command: str, reason: str) -> NotStarted:
    """Of a file that was found, what the kernel said."""
    if reason == os.strerror(errno.ENOENT):
        hint = "a script's is on its first line, after #!; a program's is what file(1) says"
        return NotStarted(command, "the interpreter that it names is not there", 126, hint)
    return NotStarted(command, reason, 126, "see what file(1) says of it")


def _nothing() -> None:
    """A command whose terminal is somebody else's hears of no hang-up: it ends with isotrace."""


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
    execute: Execute,
    isotrace: int,
    let_go: Callable[[], object],
) -> NoReturn:
    """``isotrace`` is its pid."""
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and execve would keep that
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        children.dumpable(True)
        before()
        if user:
            user.become()
            children.end_with(isotrace)  # that is undone where the user changes (commit_creds)
        if os.read(start, 1):
            execute(path, command, let_go)
    except OSError as error:
        os.write(failure, (error.strerror or "unknown error").encode())
    finally:
        os._exit(126)
