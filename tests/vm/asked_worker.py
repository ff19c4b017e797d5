"""Processes that ask for what waits: each line on standard input is a Python expression, and each answer a line.

``python asked_worker.py``: the answer is its value (None is "ok"), or the name of an errno. ``apart(way)`` does it in a
child, and tells how that ended, and how often it was seen to stop and to go on.
"""

import ctypes
import errno
import os
import signal
import socket
import sys
import threading

C = ctypes.CDLL(None, use_errno=True)
SEEN = {"signals": 0, "terminated": 0}
RACE = {}


def apart(way):
    """``ok 0 0``: how a child ended that did it, its stops and continuations as its parent sees them."""
    pid = os.fork()
    if pid == 0:
        try:
            way()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    stops = continues = 0
    while True:
        status = os.waitpid(pid, os.WUNTRACED | os.WCONTINUED)[1]
        stops += os.WIFSTOPPED(status)
        continues += os.WIFCONTINUED(status)
        if os.WIFSIGNALED(status) or os.WIFEXITED(status):
            break
    code = os.WEXITSTATUS(status)
    end = f"signal-{os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else errno.errorcode[code] if code else "ok"
    return f"{end} {stops} {continues}"


def mount(where):
    """A tmpfs on a directory."""
    if C.mount(b"none", where.encode(), b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "")


def connect(port):
    """To this host."""
    with socket.socket() as one:
        one.connect(("127.0.0.1", port))


def together(count, path):
    """How many of so many threads opened it, all at once."""
    found, ready = [], threading.Barrier(count)

    def run():
        ready.wait()
        os.close(os.open(path, os.O_RDONLY))
        found.append(1)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return len(found)


def begin(path):
    """Open it in a thread of its own; the memory that has the path can be changed meanwhile."""
    RACE["path"] = ctypes.create_string_buffer(path.encode(), 4096)

    def run():
        fd = C.open(RACE["path"], os.O_RDONLY)
        RACE["found"] = os.read(fd, 100).decode() if fd >= 0 else errno.errorcode[ctypes.get_errno()]

    RACE["thread"] = threading.Thread(target=run)
    RACE["thread"].start()


def begin_how(path, flags):
    """As begin, by openat2: the memory that has the flags can be changed meanwhile."""
    RACE["path"] = ctypes.create_string_buffer(path.encode(), 4096)
    RACE["how"] = (ctypes.c_uint64 * 3)(flags, 0, 0)

    def run():
        fd = C.syscall(437, -100, RACE["path"], RACE["how"], ctypes.sizeof(RACE["how"]))
        RACE["found"] = "opened" if fd >= 0 else errno.errorcode[ctypes.get_errno()]

    RACE["thread"] = threading.Thread(target=run)
    RACE["thread"].start()


def change_how(flags):
    """Other flags in the same memory."""
    RACE["how"][0] = flags


def change(path):
    """Another path in the same memory."""
    RACE["path"].value = path.encode()


def found():
    """What was in the file that was opened, or the error."""
    RACE["thread"].join()
    return RACE["found"]


def on(number, name):
    """Count a signal."""

    def handler(_number, _frame):
        SEEN[name] += 1

    signal.signal(number, handler)


def forked():
    """Whether a child that was forked ended as it was to."""
    pid = os.fork()
    if pid == 0:
        os._exit(5)
    return os.WEXITSTATUS(os.waitpid(pid, 0)[1])


def answer(line):
    """The value of the expression."""
    try:
        value = eval(line)
        return "ok" if value is None else str(value)
    except OSError as error:
        return errno.errorcode[error.errno]


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        print(answer(line), flush=True)
