"""A small process, forked before there are threads, that forks further children when they are wanted.

A process with threads cannot fork a child that goes on to import and compile: a lock that another thread holds at that
moment stays locked in the child for ever. Such a child would also keep a copy of every descriptor, and with it in force
what should end together with isotrace. The fork server has one thread and no descriptors but its socket; it ends when that
does, whatever ended the process at the other side.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from isotrace.errors import IsotraceError
from isotrace.process import children

_TASK_BYTES, _MOST_FDS = 256, 8
_current: ForkServer | None = None


class ForkServer:
    """Fork it before any thread is started, and while the process is small."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = children.fork()
        if self.pid == 0:
            self._socket.close()
            _serve(theirs)
        theirs.close()

    def spawn(self, task: str, fds: Sequence[int]) -> None:
        """Have a child call ``task``, "module:function", with copies of ``fds``. Raises ``IsotraceError``."""
        try:
            socket.send_fds(self._socket, [task.encode()], fds)
        except OSError as error:
            raise IsotraceError(
                f"the process that compiles has ended: {error.strerror}",
                "start isotrace again; isotrace doctor tells more",
            ) from None

    def close(self) -> None:
        """End it; children that are at work go on."""
        self._socket.close()
        os.waitpid(self.pid, 0)


def use(server: ForkServer) -> None:
    """Fork no child but in this fork server from now on."""
    global _current
    _current = server


def current() -> ForkServer | None:
    """The fork server in use, if there is one."""
    return _current


def _serve(requests: socket.socket) -> NoReturn:
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        while True:
            task, fds, _flags, _address = socket.recv_fds(requests, _TASK_BYTES, _MOST_FDS)
            if not task:
                break
            if children.fork() == 0:
                requests.close()
                _work(task.decode(), fds)
            for fd in fds:
                os.close(fd)
    finally:
        os._exit(0)


def _work(task: str, fds: Sequence[int]) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        module, _, function = task.partition(":")
        getattr(import_module(module), function)(*fds)
        status = 0
    finally:
        os._exit(status)
