"""Landlock Config's JSON, enforced here: in a child, by the kernel's calls."""

from __future__ import annotations

import ctypes
import os
import pickle
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_PR_SET_NO_NEW_PRIVS = 38
FS = {name: 1 << bit for bit, name in enumerate((
    "execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char", "make_dir", "make_reg",
    "make_sock", "make_fifo", "make_block", "make_sym", "refer", "truncate", "ioctl_dev",
))}  # fmt: skip
NET = {"bind_tcp": 1, "connect_tcp": 2}
SCOPES = {"abstract_unix_socket": 1, "signal": 2}


def _call(*args):
    found = _LIBC.syscall(*args)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def abi():
    """The kernel's, 0 where it has none."""
    return max(_LIBC.syscall(_CREATE, None, 0, 1), 0)


def _bits(table, names):
    return sum(table[name] for name in set(names))


def restrict(config):
    """Put this thread under it. Raises ``OSError``."""
    (ruleset,) = config["ruleset"]
    attributes = struct.pack("=QQQ", *(_bits(table, ruleset.get(key, ())) for table, key in (
        (FS, "handledAccessFs"), (NET, "handledAccessNet"), (SCOPES, "scoped"))))  # fmt: skip
    rules = _call(_CREATE, attributes, len(attributes), 0)
    for entry in config.get("pathBeneath", ()):
        for path in entry["parent"]:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
            _call(_ADD, rules, 1, struct.pack("=Qi", _bits(FS, entry["allowedAccess"]), parent), 0)
            os.close(parent)
    for entry in config.get("netPort", ()):
        for port in entry["port"]:
            _call(_ADD, rules, 2, struct.pack("=QQ", _bits(NET, entry["allowedAccess"]), port), 0)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call(_RESTRICT, rules, 0)


def under(config, function):
    """What ``function`` returns in a child that is under it."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            restrict(config)
            os.write(write, pickle.dumps(function()))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    return pickle.loads(data)
