"""Compiled programs that are kept from one run to the next: LLVM takes a second, reading a file a millisecond.

A file is named by a hash of all that its content follows from (source, constants, BCC, kernel), so a stale file is never
loaded, only ignored. The directory must belong to who runs isotrace and be closed to all others, else it is not used; a
file that is damaged or somebody else's counts as missing and is written anew. ISOTRACE_CACHE names another
directory, or is "off".
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from isotrace.backends.compiled import Compiled

_VARIABLE = "ISOTRACE_CACHE"
_DEFAULT = "/var/cache/isotrace"
_FORMAT = "2"
_MOST = 64  # files
_LARGEST = 32 << 20
_SUFFIX = ".bpf"

#: Files that differ between two versions of BCC.
_BCC = ("libbcc.so.0", "python3/dist-packages/bcc/version.py")
_LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
_KERNEL = Path("/sys/kernel/notes")  # with the build's hash


def directory() -> Path | None:
    """Where files are kept, or None when nothing is to be kept."""
    chosen = os.environ.get(_VARIABLE, _DEFAULT)
    return None if chosen in ("", "off", "0", "no") else Path(chosen)


def key(source: str, include: Iterable[Path], request: Mapping[str, object]) -> str:
    """The name for what ``source`` (expanded) becomes with the headers ``include``, as ``request`` says."""
    found = hashlib.sha256()
    parts = [_FORMAT, source, json.dumps(request, sort_keys=True), *os.uname()[2:], *_compiler()]
    for part in (*(part.encode() for part in parts), _read(_KERNEL), *map(_read, sorted(include))):
        found.update(b"%d " % len(part) + part)
    return found.hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _compiler() -> Iterable[str]:
    for where in _LIBRARIES:
        for name in _BCC:
            with contextlib.suppress(OSError):
                info = os.stat(f"{where}/{name}")
                yield f"{where}/{name} {info.st_size} {info.st_mtime_ns} {info.st_ino}"


def _opened(create: bool = False) -> int | None:
    """The directory, if it is ours and only ours."""
    path = directory()
    if path is None:
        return None
    if create:
        with contextlib.suppress(OSError):
            path.mkdir(0o700)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    info = os.fstat(fd)
    if info.st_uid != os.geteuid() or info.st_mode & 0o077:
        os.close(fd)
        return None
    return fd


def place(name: str) -> str:
    """Where that is kept which has the key ``name``, or why it is not, in words."""
    path = directory()
    return f"{_VARIABLE} is off" if path is None else str(path / f"{name}{_SUFFIX}")


def is_warm() -> bool:
    """Whether anything is kept: then a compiler is not started before it is known to be needed."""
    if (fd := _opened()) is None:
        return False
    try:
        return any(name.endswith(_SUFFIX) for name in os.listdir(fd))
    finally:
        os.close(fd)


def read(name: str) -> Compiled | None:
    """What is kept under the key ``name``, or None."""
    if (fd := _opened()) is None:
        return None
    try:
        return _decoded(_content(fd, name + _SUFFIX), name)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None
    finally:
        os.close(fd)


def _content(fd: int, name: str) -> bytes:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
    with os.fdopen(file, "rb") as stream:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
            raise ValueError("somebody else can write the file")
        return stream.read(_LARGEST)


def _digest(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + content).hexdigest().encode()


def _decoded(data: bytes, name: str) -> Compiled:
    digest, _, content = data.partition(b"\n")
    if digest != _digest(name, content):
        raise ValueError("damaged")
    return Compiled.of(json.loads(content))


def write(name: str, compiled: Compiled) -> bool:
    """Keep it, or silently not: at once whole, and with a limit on how many are kept. Returns whether it is."""
    if (fd := _opened(create=True)) is None:
        return False
    try:
        _replace(fd, name, compiled.to_bytes())
        _prune(fd)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _replace(fd: int, name: str, content: bytes) -> None:
    part = f"{name}.{os.getpid()}"
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(_digest(name, content) + b"\n" + content)
        os.rename(part, name + _SUFFIX, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError:
        os.unlink(part, dir_fd=fd)
        raise


def _prune(fd: int) -> None:
    """Also removes parts that a process which was killed left behind."""
    ages = sorted((os.stat(name, dir_fd=fd).st_mtime, name) for name in os.listdir(fd))
    for _age, name in ages[:-_MOST]:
        os.unlink(name, dir_fd=fd)
