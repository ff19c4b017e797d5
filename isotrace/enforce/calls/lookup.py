"""Where a waiting caller's paths lead, as isotrace sees the files: from the caller's root, without links.

A path is a string from isotrace's own root, "" what has none (a pipe, a socket, a namespace), None what cannot be told:
files of another mount namespace, or of a mount that is nowhere.
"""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass

from isotrace.enforce.calls import notify
from isotrace.process import libc

AT_FDCWD = -100
#: ABIs with pointers of eight bytes.
WIDE = ("x86_64", "arm64")

_MAX_LINKS = 40
#: Components, those of links too: as many links as there may be, each of them a long path, would take seconds.
_MOST_STEPS = 4096
_KCMP_FILES = 2
_SELF = ("self", "thread-self")
_PROC_MAGIC, _PROC_ROOT = 0x9FA0, 1  # a procfs, and the number of the directory that it begins with


@dataclass(frozen=True)
class Caller:
    """The thread that waits, and its process, by their numbers here."""

    tid: int
    pid: int


def signed(register: int) -> int:
    """A descriptor in a register: its low 32 bits."""
    return (register & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)


def copy(caller: Caller, number: int) -> int:
    """A descriptor of what the caller has open under a number. Raises ``OSError``, also for a thread that has a table of
    its own: what there is to ask is the process.
    """
    if caller.tid != caller.pid and notify.call("kcmp", caller.tid, caller.pid, _KCMP_FILES, 0, 0):
        raise PermissionError(errno.EPERM, "its descriptors are not its process's")
    pidfd = os.pidfd_open(caller.pid)
    try:
        return notify.call("pidfd_getfd", pidfd, signed(number), 0)
    finally:
        os.close(pidfd)


def descriptor(caller: Caller, number: int) -> str | None:
    """What is open under a number."""
    return _led_to(f"/proc/{caller.tid}/fd/{number}") if _is_here(caller) else None


@dataclass(frozen=True)
class Way:
    """Where a path leads.

    ``own``: by what /proc says of the one who looks, so for isotrace elsewhere. ``magic``: by a link of /proc to an object
    itself; ``foreign``: by one of another process, which the kernel asks about the caller's right to trace that.
    """

    path: str | None
    own: bool = False
    magic: bool = False
    foreign: bool = False


def resolve(caller: Caller, directory: int, path: str, follow: bool, scoped: bool = False) -> str | None:
    """Where ``path`` leads from a directory's descriptor or AT_FDCWD; what is not there stays as it is written.

    With ``scoped`` the directory is the root (RESOLVE_IN_ROOT).
    """
    return way(caller, directory, path, follow, scoped).path


def way(caller: Caller, directory: int, path: str, follow: bool, scoped: bool = False, exact: bool = False) -> Way:
    """The same. With ``exact`` raises ``OSError`` where the kernel, for the same user, would not come to its end."""
    if not _is_here(caller):
        return Way(None)
    root = _led_to(f"/proc/{caller.tid}/root")
    start = root
    if root and (scoped or not path.startswith("/")):
        start = _led_to(f"/proc/{caller.tid}/" + ("cwd" if directory == AT_FDCWD else f"fd/{directory}"))
    if not root or not start:
        return Way(start if root else None)
    return _walk(caller, _parts(start if scoped else root), _parts(start), path, follow, exact)


def has_root_of_isotrace(caller: Caller) -> bool:
    """Whether a path that begins with / begins where isotrace's do, in the same mount. Raises ``OSError``."""
    root = f"/proc/{caller.tid}/root"
    return os.readlink(root) == "/" and os.path.samestat(os.stat(root), os.stat("/"))


def _walk(caller: Caller, root: list[str], done: list[str], path: str, follow: bool, exact: bool) -> Way:
    left, links, steps = _parts(path)[::-1], 0, 0
    own = magic = foreign = False
    while left:
        part = left.pop()
        steps += 1
        if steps > _MOST_STEPS:
            return Way(None, own, magic, foreign)
        above = "/" + "/".join(done)
        if exact:
            os.stat(os.path.join(above, "."))  # a directory that may be searched
        if part == ".":
            continue
        if part == "..":
            if done != root:
                del done[-1:]
            continue
        here = os.path.join(above, part)
        target = _link(caller, above, here, part, exact) if left or follow else ""
        if not target:
            if target is None:
                return Way(None, own, magic, foreign)
            done.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            if exact:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            return Way(None, own, magic, foreign)
        own = own or (part in _SELF and _is_proc(above))
        if part in _SELF or not _is_proc(above) or (target[0] != "/" and ":" not in target):
            done = list(root) if target[0] == "/" else done
            left += _parts(target)[::-1]
            continue
        magic, foreign = True, foreign or not _is_of(caller, above)
        led = _led_to(here)  # to the object itself, wherever the root is
        if not led:
            if exact and left:
                os.stat(os.path.join(here, "."))
            return Way(led, own, magic, foreign)
        done = _parts(led)
    return Way("/" + "/".join(done), own, magic, foreign)


def _is_of(caller: Caller, directory: str) -> bool:
    """Whether a directory of /proc is the caller's, or in it."""
    try:
        own = [os.stat(f"/proc/{number}") for number in (caller.pid, caller.tid)]
        while directory != "/":
            found = os.stat(directory)
            if any(os.path.samestat(found, one) for one in own):
                return True
            directory = os.path.dirname(directory)
    except OSError:
        return False
    return False


def _parts(path: str) -> list[str]:
    """Its components; with "." in the end where what is before is not the last one, so that a link there is followed."""
    found = [part for part in path.split("/") if part not in ("", ".")]
    return [*found, "."] if found and path.rpartition("/")[2] in ("", ".") else found


def _link(caller: Caller, above: str, here: str, part: str, exact: bool) -> str | None:
    """What a link says; "" of what is none, or is not there. What /proc says of the one who looks is the caller's.

    With ``exact`` raises ``OSError`` of one that may not be read.
    """
    if part in _SELF and _is_proc(above):
        try:
            there, known = os.stat(above), os.stat("/proc")
        except OSError:
            return None
        if there.st_ino == _PROC_ROOT:
            own = str(caller.pid) if part == "self" else f"{caller.pid}/task/{caller.tid}"
            return own if os.path.samestat(there, known) else None  # the numbers of another namespace
    try:
        return os.readlink(here)
    except OSError as error:
        if exact and error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
        return ""


def _is_here(caller: Caller) -> bool:
    """Whether its mounts are isotrace's."""
    try:
        return os.path.samestat(os.stat(f"/proc/{caller.tid}/ns/mnt"), os.stat("/proc/self/ns/mnt"))
    except OSError:
        return False


def _led_to(link: str) -> str | None:
    """Where a link of /proc leads, if what is there is what it leads to."""
    try:
        target = os.readlink(link)
        if not target.startswith("/"):
            return ""
        meant = os.stat(link)
        if not meant.st_nlink:  # removed: by its last name
            return target
        return target if os.path.samestat(meant, os.lstat(target)) else None
    except OSError:
        return None


def _is_proc(directory: str) -> bool:
    found = ctypes.create_string_buffer(512)
    result, _ = libc.error_of("statfs", os.fsencode(directory), found)
    return result == 0 and ctypes.c_long.from_buffer(found).value == _PROC_MAGIC
