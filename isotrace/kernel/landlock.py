"""Landlock's three system calls, and whether they do here what they are used for.

Structures and numbers: include/uapi/linux/landlock.h. Landlock came with 5.13; ABI 2 is 5.19 (refer), 3 is 6.2 (truncate),
4 is 6.7 (TCP ports), 5 is 6.10 (ioctl), 6 is 6.12 (scopes), 7 is 6.15 (audit).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import tempfile
from pathlib import Path

from isotrace.kernel import sandbox
from isotrace.kernel.answer import Answer, no, refusal, unknown, yes
from isotrace.process import libc

# Numbers from 424 on are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH, _NET_PORT = 1, 1, 2

#: ABI → the release that it came with.
SINCE = {1: "5.13", 2: "5.19", 3: "6.2", 4: "6.7", 5: "6.10", 6: "6.12", 7: "6.15"}

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))
BIND_TCP, CONNECT_TCP = 1, 2
SCOPE_ABSTRACT_UNIX, SCOPE_SIGNAL = 1, 2


def abi() -> int:
    """The version of Landlock's ABI; the error as a negative number where there is none."""
    return libc.try_syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)


def create(files: int, ports: int, scopes: int) -> int:
    """A ruleset that denies these rights, as a descriptor that execve closes. Raises ``OSError``."""
    attributes = struct.pack("=QQQ", files, ports, scopes)
    size = 8 if not (ports or scopes) else 16 if not scopes else 24
    return libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)


def allow_below(ruleset: int, rights: int, place: int) -> None:
    """Except the file ``place``, a descriptor, or the directory with all below it. Raises ``OSError``."""
    libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)


def allow_port(ruleset: int, rights: int, port: int) -> None:
    """Except a port. Raises ``OSError``."""
    libc.syscall(_ADD_RULE, ruleset, _NET_PORT, struct.pack("=QQ", rights, port), 0)


def restrict(ruleset: int) -> None:
    """Hold this thread, and all that it starts, to the ruleset, for good. Raises ``OSError``."""
    libc.no_new_privs()
    libc.syscall(_RESTRICT_SELF, ruleset, 0)


def refuses() -> Answer:
    """Whether a child that may read nothing cannot read a file any more."""
    version = abi()
    if version < 0:
        return refusal("landlock_create_ruleset", -version, True)
    with tempfile.TemporaryDirectory(prefix="isotrace-") as directory:
        canary = Path(directory, "canary")
        canary.write_bytes(b"x")
        said = sandbox.run(lambda: _try(os.fsencode(canary))).said.decode()
    if said == "EACCES":
        return yes(f"ABI {version}: a file was denied")
    return unknown("the trial ended early") if not said else no(f"ABI {version}, but a file was not denied: {said}")


def _try(canary: bytes) -> bytes:
    os.close(os.open(canary, os.O_RDONLY))
    try:
        restrict(create(READ_FILE, 0, 0))
        os.open(canary, os.O_RDONLY)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?").encode()
    return b"it was read"
