"""A process to be refused something: answers each line, a Python expression, with its value or the name of an errno.

``python worker.py LIBRARY IN,OUT IN,OUT ...``: serves the first pair of descriptors; ``fork(n)`` makes a child that
serves pair n. LIBRARY is tests/progs/rush.c. Everything that an expression needs is imported or made beforehand, so that
it makes the calls that it names and no other.
"""

# ruff: noqa: F401
import array
import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import sys
import termios
import threading
import time

C = ctypes.CDLL(None, use_errno=True)
PAIRS = [tuple(map(int, word.split(","))) for word in sys.argv[2:]]
ROOM = ctypes.create_string_buffer(4096)
THINGS: dict[str, object] = {}
if sys.argv[1] != "-":
    RUSH = ctypes.CDLL(sys.argv[1]).rush


def call(number, *args):
    """A system call by number. Raises ``OSError``."""
    result = C.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
    if result == -1:
        raise OSError(ctypes.get_errno(), "")


def rush(path, count, orphans):
    """How many of ``count`` short-lived descendants opened ``path``."""
    return RUSH(path.encode(), count, orphans)


def fork(pair):
    """A child that serves a pair of its own; its pid."""
    pid = os.fork()
    if pid == 0:
        serve(*PAIRS[pair])
    return pid


def child(way):
    """Does ``way`` in a child. Raises the ``OSError`` that it raises there; "signal N" where that kills it."""
    pid = os.fork()
    if pid == 0:
        try:
            way()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    status = os.waitpid(pid, 0)[1]
    if os.WEXITSTATUS(status):
        raise OSError(os.WEXITSTATUS(status), "")
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else None


def threaded(way):
    """Does ``way`` in a thread of its own; its value, or the ``OSError`` that it raises."""
    found = []

    def run():
        try:
            found.append(way())
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def keep(name, thing):
    """Make a thing for later."""
    THINGS[name] = thing


def failures(count, way):
    """How many of ``count`` tries fail."""
    failed = 0
    for _ in range(count):
        try:
            way()
        except OSError:
            failed += 1
    return failed


def serve(receiving, sending):
    """Answer until the other end is closed."""
    while line := os.read(receiving, 65536):
        try:
            value = eval(line)
            answer = "ok" if value is None else str(value)
        except OSError as error:
            answer = errno.errorcode[error.errno]
        os.write(sending, answer.encode())
    os._exit(0)


serve(*PAIRS[0])
