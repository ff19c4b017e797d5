"""The words of ``--deny``: what a person means by a name, as system calls of the catalogue.

Terms are those of ``--calls`` (names, ``%families``, ``@sets``, ``/regex/``, ``!`` to take away), and the words of
words.txt, which come first: ``open`` is every call that opens a file. ``=open`` is the one call of that name. ``!word``
takes away only the calls that are refused whatever their arguments are.
"""

from __future__ import annotations

import difflib
import errno as numbers
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from isotrace import catalog
from isotrace.catalog import expr, families, refuse
from isotrace.errors import UsageError
from isotrace.policy.model import IO_URING, Action, CallRule

_HINT = "`isotrace calls` lists every call with the words and families that cover it"

# What the operations of enum io_uring_op do that a call does, too (include/uapi/linux/io_uring.h).
_RING = (
    "read pread64 readv preadv preadv2 write pwrite64 writev pwritev pwritev2 fsync fdatasync sync_file_range "
    "sendmsg sendto sendmmsg recvmsg recvfrom recvmmsg recvmmsg_time64 accept accept4 connect socket bind listen shutdown "
    "open openat openat2 creat close newfstatat stat lstat stat64 lstat64 fstatat64 statx fallocate fadvise64 fadvise64_64 "
    "madvise splice tee renameat renameat2 rename unlinkat unlink rmdir mkdirat mkdir symlinkat symlink linkat link "
    "ftruncate ftruncate64 truncate truncate64 fgetxattr fsetxattr getxattr setxattr poll ppoll ppoll_time64 epoll_ctl "
    "epoll_wait epoll_pwait epoll_pwait2 futex futex_wait futex_wake futex_waitv waitid wait4 waitpid pipe pipe2 "
    "getsockopt setsockopt ioctl nanosleep clock_nanosleep clock_nanosleep_time64 dup dup2 dup3 file_getattr"
)
#: The calls whose work io_uring can be asked for instead.
VIA_IO_URING = frozenset(_RING.split())
#: The calls whose work io_submit can be asked for instead (enum in include/uapi/linux/aio_abi.h).
VIA_AIO = frozenset(
    "read pread64 readv preadv preadv2 write pwrite64 writev pwritev pwritev2 fsync fdatasync".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Word:
    """A word and its calls; ``addressed`` are those among them that are meant only with an address."""

    name: str
    title: str
    calls: frozenset[str]
    addressed: frozenset[str]


@cache
def parse_errno(text: str) -> int:
    """The number of an errno's name, as ``EACCES``. Raises ``UsageError``."""
    known = {name: number for number, name in numbers.errorcode.items()}
    known |= {"EWOULDBLOCK": numbers.EAGAIN, "ENOTSUP": numbers.EOPNOTSUPP, "EDEADLOCK": numbers.EDEADLK}
    if text.upper() not in known:
        raise UsageError(f"{text!r} is not the name of an error", "write it like EPERM, EACCES or ENOENT")
    return known[text.upper()]


def words() -> dict[str, Word]:
    """The table, by word."""
    lines = (Path(__file__).parent / "words.txt").read_text(encoding="ascii").splitlines()
    return {word.name: word for line in lines if line and line[0] != "#" for word in (_word(line),)}


def _word(line: str) -> Word:
    head, calls = line.split("|")
    name, title = head.split(None, 1)
    named = {call.removesuffix("(addr)"): call.endswith("(addr)") for call in calls.split()}
    return Word(name, title.strip(), frozenset(named), frozenset(call for call, only in named.items() if only))


def words_of(call: str) -> tuple[str, ...]:
    """The words that cover a call, in the order of the table."""
    return tuple(word.name for word in words().values() if call in word.calls)


def closes(calls: Iterable[str]) -> frozenset[str]:
    """What else a rule on ``calls`` refuses where the mechanism does not see through io_uring."""
    asked = set(calls)
    found = IO_URING if VIA_IO_URING & asked else frozenset()
    return found | {"io_submit"} - asked if VIA_AIO & asked else found


def parse(text: str, *, action: Action | None = None, group: str = "") -> CallRule:
    """The rule that an expression writes. Raises ``UsageError``.

    Calls that nothing can refuse (exit, the return from a signal handler) are left out of families, and are an error
    by name.
    """
    terms = [term.strip() for term in expr.split(text)]
    if not all(terms):
        raise UsageError(f"empty term in {expr.show(text)}", "write it like open,connect,%process,!wait4")
    calls: set[str] = set(catalog.names()) if terms[0].startswith("!") else set()
    addressed: set[str] = set()
    for term in terms:
        _apply(term, calls, addressed)
    calls -= set(refuse.NEVER) | refuse.NO_CODE
    if not calls:
        raise UsageError(f"{expr.show(text)} names no call that can be denied", _HINT)
    return CallRule(text, frozenset(calls), frozenset(addressed & calls), action or Action(), group)


def _apply(term: str, calls: set[str], addressed: set[str]) -> None:
    word = _term(term.removeprefix("!").strip())
    if term.startswith("!"):
        calls -= word.calls - word.addressed
        addressed -= word.calls - word.addressed
        return
    whole = word.calls - word.addressed
    addressed |= word.addressed - calls
    addressed -= whole
    calls |= word.calls


def _term(term: str) -> Word:
    if term in words():
        return words()[term]
    name = term.removeprefix("=")
    if name in refuse.NEVER:
        raise UsageError(f"{name} cannot be denied: {refuse.NEVER[name]}", "leave it out")
    if name in refuse.NO_CODE:
        raise UsageError(f"{name} need not be denied: the kernel has no code for it", "leave it out")
    if name in catalog.names():
        return Word(term, name, frozenset((name,)), frozenset())
    if term[:1] in ("/", "%", "@") or term in ("all", "none") or term in families.BARE:
        return Word(term, term, expr.select(term), frozenset())
    known = {*words(), *catalog.names(), *families.table()}
    near = difflib.get_close_matches(re.sub(r"[^ -~]", "", name), sorted(known), n=3)
    raise UsageError(f"unknown call or word {expr.show(term)}", f"did you mean {', '.join(near)}?" if near else _HINT)
