"""Changes of attributes that isotrace makes in a caller's place, with the caller's rights, of the object that it judged.

The object is opened once, judged by the path that the kernel has for it, and changed by that descriptor, so that nothing
that another thread changes meanwhile matters. The call is made with the caller's own registers and copies of what they
point to, so the kernel gives the answer that it would give the caller. isotrace must be what the caller is: of the same
user, groups, capabilities, security label, user and mount namespace. Where it is not, or the call is a 32-bit program's,
the change is refused; so it is where the path leads by the descriptors of another process, which the caller may be denied.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from isotrace import catalog
from isotrace.enforce.calls import lookup, notify, peek
from isotrace.enforce.calls.lookup import AT_FDCWD, WIDE, Caller, signed
from isotrace.enforce.landlock.tree import Files
from isotrace.kernel import procfs
from isotrace.policy.accesses import follows

_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = 0x100, 0x1000
_MAX_PATH, _NAME, _MOST_VALUE = 4096, 256, 65536  # PATH_MAX; XATTR_NAME_MAX and a NUL; XATTR_SIZE_MAX
_CREDENTIALS = (b"Uid", b"Gid", b"Groups", b"CapEff", b"CapPrm")
#: What SELinux, AppArmor and Smack hold a thread to.
_LABELS = ("current", "apparmor/current", "smack/current")
_NO_MAGICLINKS, _NO_SYMLINKS = 0x02, 0x04  # RESOLVE_*
_DELETED = " (deleted)"
_NOT_OPEN = -1
#: An address where nothing is mapped: the kernel says so when it comes to it.
_NOWHERE = ctypes.c_void_p(1)

_MODES = frozenset(("chmod", "fchmod", "fchmodat", "fchmodat2"))
_OWNERS = frozenset(("chown", "lchown", "fchown", "fchownat", "chown32", "lchown32", "fchown32"))
#: Call → the place and the size of the times that it points to.
_TIMES = {"utime": (1, 16), "utimes": (1, 32), "futimesat": (2, 32), "utimensat": (2, 32)}
_SETTING = frozenset(("setxattr", "lsetxattr", "fsetxattr"))
_REMOVING = frozenset(("removexattr", "lremovexattr", "fremovexattr"))
#: What changes attributes, and is refused to everybody: there is no telling of what object.
_NEVER = frozenset(("setxattrat", "removexattrat", "file_setattr", "utimensat_time64"))
#: What is made where a link itself is meant, and is what is open.
_OF_LINKS = {"lchown": "chown", "lsetxattr": "setxattr", "lremovexattr": "removexattr"}
_FLAGS = ("flags", "flag")
CALLS = frozenset((*_MODES, *_OWNERS, *_TIMES, *_SETTING, *_REMOVING, *_NEVER))


class _Failed(Exception):
    """The call fails, with this errno, for another reason than a rule."""


@dataclass(frozen=True)
class _Call:
    """The call as isotrace makes it: with the caller's registers, and copies of the memory that they point to.

    ``path``, ``directory`` and ``flags`` are the places of these among its arguments, None where it has none.
    """

    name: str
    args: tuple[int, ...]
    copies: Mapping[int, object]
    path: int | None
    directory: int | None
    flags: int | None

    def of_descriptor(self, descriptor: int, path: bytes | None = None) -> int:
        """Make it of a descriptor, with an empty path or none behind it. The error is a negative number."""
        if self.path is None:
            return self._make({0: ctypes.c_int(descriptor)})
        assert self.directory is not None
        return self._make({self.directory: ctypes.c_int(descriptor), self.path: path})

    def of_path(self, path: bytes) -> int:
        """Make it of what a path leads to, be that a link."""
        others: dict[int, object] = {} if self.directory is None else {self.directory: ctypes.c_int(AT_FDCWD)}
        if self.flags is not None:
            others[self.flags] = ctypes.c_uint(self.args[self.flags] & 0xFFFFFFFF & ~_AT_SYMLINK_NOFOLLOW)
        assert self.path is not None
        return self._make({**others, self.path: path})

    def of_nothing(self) -> int | None:
        """What the kernel answers before it looks for the file; None where it comes to that."""
        if self.path is not None and self.directory is None:
            found, nothing = self._make({self.path: b""}), errno.ENOENT
        else:
            found, nothing = self.of_descriptor(_NOT_OPEN, b"nothing"), errno.EBADF
        return None if found == -nothing else found

    def _make(self, others: Mapping[int, object]) -> int:
        registers = {at: ctypes.c_ulong(value) for at, value in enumerate(self.args)}
        words = {**registers, **self.copies, **others}
        try:
            return notify.call(_OF_LINKS.get(self.name, self.name), *(words[at] for at in sorted(words)))
        except OSError as error:
            return -(error.errno or errno.EIO)


def perform(
    caller: Caller,
    call: str,
    abi: str,
    args: Sequence[int],
    allowed: Callable[[str], bool],
    waits: Callable[[], bool],
) -> int | None:
    """Do it and return 0, or the positive errno that it fails with; None where it is refused.

    ``allowed`` says of the path of an object whether its attributes may be changed, ``waits`` whether the caller waits yet:
    then what was read under its number was its own. Raises ``OSError`` where the caller cannot be looked at.
    """
    if abi not in WIDE or call in _NEVER or not is_like(caller):
        return None
    made = _made(caller, call, abi, args)
    early = made.of_nothing()
    if early is not None:
        return -min(0, early)
    try:
        with _object(caller, made) as found:
            if found is None or not _is_known_by_its_path(found.opened, allowed):
                return None
            return -min(0, found.change()) if waits() else errno.ESRCH
    except _Failed as failed:
        return int(failed.args[0])


def _made(caller: Caller, call: str, abi: str, args: Sequence[int]) -> _Call:
    described = catalog.by_name(abi)[call].args
    path = next((at for at, arg in enumerate(described) if arg.kind == "path"), None)
    directory = path - 1 if path and described[path - 1].kind == "dirfd" else None
    flags = next((at for at, arg in enumerate(described) if arg.name in _FLAGS), None)
    return _Call(
        call,
        tuple(args[: len(described)]),
        dict(_copies(caller, call, args)),
        path,
        directory,
        None if call in _SETTING else flags,
    )


def _copies(caller: Caller, call: str, args: Sequence[int]) -> Iterator[tuple[int, object]]:
    """What the call points to, by the place of the pointer."""
    if call in _TIMES:
        at, size = _TIMES[call]
        yield at, _copy(caller, args[at], size)
    elif call in _SETTING | _REMOVING:
        name = peek.read(caller.tid, args[1], _NAME)
        yield 1, name.partition(b"\0")[0] if b"\0" in name or len(name) == _NAME else _NOWHERE
        if call in _SETTING:
            yield 2, _copy(caller, args[2], args[3]) if args[3] <= _MOST_VALUE else _NOWHERE


def _copy(caller: Caller, address: int, size: int) -> object:
    if not address:
        return None
    data = peek.read_all(caller.tid, address, size)
    return _NOWHERE if data is None else data


def _is_known_by_its_path(opened: int, allowed: Callable[[str], bool]) -> bool:
    """Whether every path that it can have is allowed, and the one that the kernel has for it is its own.

    In a mount that is detached a path begins where that does; a file with several hard links has paths nobody knows. The
    name by which it was opened, once removed, never comes back to it: a file that has one name, and still has that one
    afterwards, had no other.
    """
    path, found = os.readlink(f"/proc/self/fd/{opened}"), os.fstat(opened)
    if not path.startswith("/") or (found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode)):
        return False
    if not found.st_nlink and path.endswith(_DELETED):  # nobody else comes to it
        return allowed(path.removesuffix(_DELETED)) and allowed(path)
    try:
        settled = stat.S_ISDIR(found.st_mode) or _await_removal(path)
        named = settled and os.readlink(f"/proc/self/fd/{opened}") == path and not path.endswith(_DELETED)
        is_there = named and os.path.samestat(found, os.lstat(path))
    except OSError:
        return False
    return is_there and all(map(allowed, (path, *Files().elsewhere(path))))


def _await_removal(path: str) -> bool:
    """Let a removal from its directory that is under way come to its end: the number of links goes down before the name.

    The directory is locked until then, and a look for a name that was never looked for takes that lock.
    """
    try:
        os.lstat(f"{os.path.dirname(path)}/.{os.urandom(12).hex()}")
    except FileNotFoundError:
        return True
    return False


def is_like(caller: Caller) -> bool:
    """Whether isotrace may do what the caller may, no more and no less. Raises ``OSError``."""
    if not has_label_of_isotrace(caller):
        return False
    own, other = (procfs.read(who, "status") or b"" for who in (os.getpid(), caller.tid))
    same_names = all(
        os.path.samestat(os.stat(f"/proc/{caller.tid}/ns/{kind}"), os.stat(f"/proc/self/ns/{kind}"))
        for kind in ("user", "mnt")
    )
    return bool(own and other) and same_names and _credentials(own) == _credentials(other)


def has_label_of_isotrace(caller: Caller) -> bool:
    """Whether the security modules that go by programs see the same in the caller as in isotrace."""
    return all(procfs.read("self/attr", one) == procfs.read(caller.tid, "attr", one) for one in _LABELS)


def _credentials(status: bytes) -> list[bytes]:
    return [line for line in status.splitlines() if line.partition(b":")[0] in _CREDENTIALS]


@dataclass(frozen=True)
class _Found:
    """What the call is about, ``opened``, and the call on that."""

    opened: int
    change: Callable[[], int]


@contextmanager
def _object(caller: Caller, call: _Call) -> Iterator[_Found | None]:
    """What the call is about; None where that cannot be told."""
    found = _found(caller, call)
    try:
        yield found
    finally:
        if found is not None:
            os.close(found.opened)


def _found(caller: Caller, call: _Call) -> _Found | None:
    if call.path is None:
        return _by_descriptor(call, _copied(caller, call.args[0], call))
    directory = AT_FDCWD if call.directory is None else signed(call.args[call.directory])
    flags = 0 if call.flags is None else call.args[call.flags]
    if not call.args[call.path]:
        if directory == AT_FDCWD or call.directory is None:
            raise _Failed(errno.EFAULT)
        return _by_descriptor(call, _copied(caller, directory, call))
    text = peek.text(caller.tid, call.args[call.path])
    if text is None:
        raise _Failed(_why_unread(caller, call.args[call.path]))
    if not text:
        if not flags & _AT_EMPTY_PATH:
            raise _Failed(errno.ENOENT)
        opened = _opened(f"/proc/{caller.tid}/cwd", 0) if directory == AT_FDCWD else _copied(caller, directory)
        return _by_descriptor(call, opened, b"")
    return _by_path(call, _looked_up(caller, directory, text, follows(call.name, flags)))


def _by_descriptor(call: _Call, opened: int, path: bytes | None = None) -> _Found:
    return _Found(opened, lambda: call.of_descriptor(opened, path))


def _by_path(call: _Call, opened: int | None) -> _Found | None:
    return None if opened is None else _Found(opened, lambda: call.of_path(f"/proc/self/fd/{opened}".encode()))


def _why_unread(caller: Caller, address: int) -> int:
    """The errno for a path that is none: without an end, or not there."""
    return errno.ENAMETOOLONG if peek.read_all(caller.tid, address, _MAX_PATH) else errno.EFAULT


def _copied(caller: Caller, number: int, call: _Call | None = None) -> int:
    """A descriptor of what the caller has open. Where that is nothing, ``call`` of nothing says how it fails."""
    try:
        return lookup.copy(caller, number)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        raise _Failed(-call.of_descriptor(_NOT_OPEN) if call else errno.EBADF) from None


def _opened(path: str, flags: int, directory: int | None = None, resolve: int = 0) -> int:
    how = struct.pack("=3Q", os.O_PATH | os.O_CLOEXEC | flags, 0, resolve)
    start = AT_FDCWD if directory is None else directory
    try:
        return notify.call("openat2", ctypes.c_int(start), os.fsencode(path), how, ctypes.c_ulong(len(how)))
    except OSError as error:
        raise _Failed(error.errno) from None


def _looked_up(caller: Caller, directory: int, text: str, follow: bool) -> int | None:
    """By the kernel's own look-up, where that is isotrace's as it is the caller's; a link made meanwhile leads nowhere."""
    start = _start(caller, directory, text)
    try:
        way = lookup.way(caller, directory, text, follow)
        if way.path and not (way.own or way.magic) and lookup.has_root_of_isotrace(caller):
            return _opened(text, 0 if follow else os.O_NOFOLLOW, start, _NO_MAGICLINKS)
        way = _exactly(caller, directory, text, follow)
        if not way.path or way.foreign:
            return None
        opened = _opened(way.path, os.O_NOFOLLOW, resolve=_NO_SYMLINKS)
    finally:
        if start is not None:
            os.close(start)
    if follow and stat.S_ISLNK(os.fstat(opened).st_mode):  # it was none a moment ago
        os.close(opened)
        return None
    return opened


def _exactly(caller: Caller, directory: int, text: str, follow: bool) -> lookup.Way:
    try:
        return lookup.way(caller, directory, text, follow, exact=True)
    except OSError as error:
        raise _Failed(error.errno) from None


def _start(caller: Caller, directory: int, text: str) -> int | None:
    """The directory that a relative path begins in."""
    if text.startswith("/"):
        return None
    if directory == AT_FDCWD:
        return _opened(f"/proc/{caller.tid}/cwd", 0)
    start = _copied(caller, directory)
    if stat.S_ISDIR(os.fstat(start).st_mode):
        return start
    os.close(start)
    raise _Failed(errno.ENOTDIR)
