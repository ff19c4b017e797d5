"""Directories of whoever started isotrace, as policy files name them: ``{cwd}``, ``{home}``, ``{tmp}`` and their like."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from isotrace.errors import UsageError
from isotrace.process.caller import caller

#: For everybody's use, whatever home is in there.
_TEMPORARY = ("/tmp", "/var/tmp")
#: Whoever may write all of one has the machine.
_SYSTEM = frozenset(
    (
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/home",
        "/lib",
        "/lib64",
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/sys",
        "/usr",
        "/var",
    )
)


@dataclass(frozen=True)
class Directory:
    """``path`` is absolute, without ``..``; ``said`` is where it comes from: ``TMPDIR``."""

    path: str
    said: str

    @property
    def whole(self) -> str:
        """What all of it is, where that is more than one directory to work in: "the root directory"; else ""."""
        real = os.path.realpath(self.path)
        if real == "/":
            return "the root directory"
        if real in map(os.path.realpath, _TEMPORARY):
            return ""
        if any(f"{os.path.realpath(home.path)}/".startswith(f"{real}/") for home in homes()):
            return "a home directory, or has one in it"
        return "a directory of the system" if real in {*_SYSTEM, *map(os.path.realpath, _SYSTEM)} else ""


def homes() -> tuple[Directory, ...]:
    """Where programs look for a home, then what passwd says, if that is another. Raises ``UsageError``."""
    user = caller()
    if user:
        first, known = Directory(user.home, f"the home of {user.name}"), ""
    else:
        known = _passwd()
        first = _named("HOME", known or "/")
    if first.path == "/":
        hint = "passwd names it: usermod --home" if user else "HOME=DIR isotrace … names another home directory"
        raise UsageError(f"{first.said} is the root directory", hint)
    if known in ("", "/", first.path):
        return (first,)
    return first, Directory(_plain(known), "the home in passwd")


def _passwd() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def _cwd() -> Iterator[Directory]:
    try:
        yield Directory(os.getcwd(), "the working directory")
    except OSError as error:
        raise UsageError(f"there is no working directory: {error.strerror}", "cd to one that exists") from None


def _tmp() -> Iterator[Directory]:
    yield _named("TMPDIR", "/tmp")


def _below_home(variable: str, name: str) -> Iterator[Directory]:
    """Of the XDG Base Directory Specification: what the variable says, and below each home what goes without saying."""
    usual = [Directory(os.path.join(home.path, name), f"{name} of {home.said}") for home in homes()]
    yield _named(variable, "") if os.environ.get(variable) else usual[0]
    yield from usual


def _named(variable: str, otherwise: str) -> Directory:
    value = os.environ.get(variable) or otherwise
    if not value.startswith("/"):
        raise UsageError(
            f"{variable} is {value!r}, which is not absolute",
            f"{variable}=DIR isotrace … with a path from the root on, or env -u {variable} isotrace …",
        )
    return Directory(_plain(value), variable)


def _plain(path: str) -> str:
    """Without ``..``, which leads elsewhere behind a link."""
    found = os.path.realpath(path) if ".." in path.split("/") else os.path.normpath(path)
    return "/" + found.strip("/")


_KNOWN: dict[str, Callable[[], Iterator[Directory] | tuple[Directory, ...]]] = {
    "cwd": _cwd,
    "home": homes,
    "tmp": _tmp,
    "cache": partial(_below_home, "XDG_CACHE_HOME", ".cache"),
    "config": partial(_below_home, "XDG_CONFIG_HOME", ".config"),
    "data": partial(_below_home, "XDG_DATA_HOME", ".local/share"),
}
NAMES = tuple(_KNOWN)


def named(name: str) -> tuple[Directory, ...]:
    """Those that a name of ``NAMES`` stands for: the first is what programs use. Raises ``UsageError``."""
    return tuple({one.path: one for one in reversed((*_KNOWN[name](),))}.values())[::-1]
