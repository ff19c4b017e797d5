"""Calls of recordings as requests to a policy: of what they are, and of every file and address that they are about.

What a recording cannot tell is said in words (``unknown``), never left out.
"""

from __future__ import annotations

import errno as numbers
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from isotrace.catalog import rings
from isotrace.catalog.model import Syscall
from isotrace.decode.descriptors import endpoints, is_deleted
from isotrace.decode.descriptors import place as path_of
from isotrace.learning.folding import IN_ROOT, UNREAD, Alike, Folded, Tally, paths_of
from isotrace.policy.accesses import ADDRESSED, BY_DESCRIPTOR, BY_HANDLE, LETTERS, NO_FLAGS, follows, of_flags
from isotrace.policy.decide import CallRequest, NetRequest, PathRequest, Request, SocketRequest
from isotrace.trace import plan

#: How a path is known: by the object that was opened, by its words where a recorded object shows that no link is on the
#: way, by the links as they are on this machine now, or by the caller's words alone.
Sure = Literal["object", "here", "words"]
#: A path without its links: of (path, whether one in the last place counts).
Links = Callable[[str, bool], str]
#: The protocol of a socket that is not known.
ANY_PROTOCOL = "?"

#: Why something cannot be judged.
CUT, UNREADABLE = "a path was cut", "a path or address could not be read"
RELATIVE = "a relative path, and its directory is not known"
NO_FILE = "code is mapped of a file that is not known"
PROTECTED = "memory becomes code, and whether a file is behind it is not known"
NO_SOCKET = "a socket's own address is not known"
MESSAGES = "several messages, of which one address is known"
NO_CALL = "a number that is no call's"
BY_NUMBER = "a file by its handle or descriptor, which is not known"
SCOPED = "a path whose directory is its root (RESOLVE_IN_ROOT)"
OPERATION = "an operation of io_uring of which it is not known what it is for"
#: Those, by the calls that do the same.
_UNTOLD = frozenset(("unknown", "uring_cmd", "uring_cmd128", "sendmsg"))

#: Errors of calls that had come to their file or socket; by every other one nothing was reached, or it was refused already.
_REACHED = frozenset(
    (
        *(numbers.ENOTEMPTY, numbers.EXDEV, numbers.EBUSY, numbers.ENOSPC, numbers.EDQUOT, numbers.EIO, numbers.EINTR),
        *(numbers.EAGAIN, numbers.ENXIO, numbers.ENODEV, *range(512, 532)),
    )
)
_NOT_REACHED_BY_NET = frozenset(
    (
        *(numbers.EFAULT, numbers.EBADF, numbers.EINVAL, numbers.ENOTSOCK, numbers.EAFNOSUPPORT, numbers.EACCES),
        *(numbers.EPERM, numbers.ENOENT, numbers.EPROTONOSUPPORT, numbers.ESOCKTNOSUPPORT, numbers.EMFILE),
        *(numbers.ENFILE, numbers.EPROTOTYPE, numbers.ENOTDIR, numbers.ENAMETOOLONG),
    )
)
_NETS = ADDRESSED | {"socket", "listen", "accept", "accept4"}
_CREAT = os.O_CREAT | os.O_WRONLY | os.O_TRUNC


@dataclass(frozen=True)
class Asked:
    """A call as a policy sees it, or an operation of io_uring. ``requests`` has the call first, which an operation is none
    of, then what it is about; ``failed``: it came to nothing that could be refused, and its files and addresses are in
    ``missed`` instead. ``unknown`` is what cannot be told.
    """

    call: str
    abi: str
    comm: bytes
    errno: int
    requests: tuple[Request, ...]
    missed: tuple[Request, ...] = ()
    unknown: tuple[str, ...] = ()
    sure: Sure = "object"

    @property
    def act(self) -> str:
        """The call that does what it does: of an operation of io_uring another name."""
        return rings.act(self.call)

    @property
    def objects(self) -> tuple[Request, ...]:
        """The requests but for that of the call."""
        return tuple(one for one in self.requests if not isinstance(one, CallRequest))


def plain(path: str, _follow: bool) -> str:
    """No links are known."""
    return path


@dataclass
class Reading:
    """Makes requests of folded rows. ``links`` resolves where no record does; ``renamed`` maps prefixes of paths."""

    folded: Folded
    links: Links = plain
    renamed: tuple[tuple[str, str], ...] = ()
    _real: set[str] = field(default_factory=set)
    _made: set[str] = field(default_factory=set)
    _removed: set[str] = field(default_factory=set)

    def asked(self) -> dict[Asked, Tally]:
        """Every call, folded by what it asks for."""
        self._see()
        found: dict[Asked, Tally] = {}
        for alike, tally in self.folded.alike.items():
            asked = self._of(alike)
            self._note_life(asked, alike.flags)
            found.setdefault(asked, Tally()).add(tally.count, tally.first, self.folded.most)
        return found

    @property
    def momentary(self) -> frozenset[str]:
        """Files that were made, as nobody else's, and removed."""
        return frozenset(self._made & self._removed)

    def _note_life(self, asked: Asked, flags: int) -> None:
        if asked.errno == 0 and asked.act in ("open", "openat") and flags & os.O_CREAT and flags & os.O_EXCL:
            self._made.update(one.path for one in asked.objects if isinstance(one, PathRequest))
        elif asked.errno == 0 and asked.act in ("unlink", "unlinkat"):
            self._removed.update(one.path for one in asked.objects if isinstance(one, PathRequest))

    def _see(self) -> None:
        """Take note of paths that are an object's: no directory on their way is a link."""
        for alike in self.folded.alike:
            for data in (alike.made, alike.start, alike.second, alike.own):
                if data and (path := path_of(data)):
                    self._note(os.fsdecode(path))

    def _note(self, path: str) -> None:
        while path not in self._real:
            self._real.add(path)
            path = os.path.dirname(path)

    def _of(self, alike: Alike) -> Asked:
        call = plan.all_calls().get(alike.slot)
        if call is None:
            return Asked("?", "", alike.comm, alike.errno, (), unknown=(NO_CALL,))
        act = rings.act(call.name)
        if act != call.name and act in _UNTOLD:
            return Asked(call.name, call.abi, alike.comm, alike.errno, (), unknown=(OPERATION,))
        addressed = alike.flags != 0 if call.name == "sendto" else bool(alike.address)
        own = () if act != call.name else (CallRequest(call.name, addressed),)
        objects, unknown, sure = self._objects(replace(call, name=act), alike)
        reached = alike.errno == 0 or (
            alike.errno not in _NOT_REACHED_BY_NET if act in _NETS else alike.errno in _REACHED
        )
        if not alike.finished or reached:
            return Asked(call.name, call.abi, alike.comm, alike.errno, (*own, *objects), (), unknown, sure)
        return Asked(call.name, call.abi, alike.comm, alike.errno, own, objects, (), sure)

    def _objects(self, call: Syscall, alike: Alike) -> tuple[tuple[Request, ...], tuple[str, ...], Sure]:
        found = [*self._paths(call, alike), *self._nets(call, alike)]
        requests = tuple(self._map(one) for one, _ in found if not isinstance(one, str))
        unknown = tuple(dict.fromkeys(one for one, _ in found if isinstance(one, str)))
        sures = {sure for _, sure in found}
        return requests, unknown, "words" if "words" in sures else "here" if "here" in sures else "object"

    def _map(self, request: Request) -> Request:
        """The request with the prefixes of its path replaced."""
        path = getattr(request, "path", None)
        if path is None:
            return request
        for old, new in self.renamed:
            if path == old or path.startswith(old.rstrip("/") + "/"):
                return replace(request, path=os.path.normpath(new + path[len(old.rstrip("/")) :]))
        return request

    # ---- paths ----------------------------------------------------------------------------------------------------------

    def _paths(self, call: Syscall, alike: Alike) -> Iterator[tuple[Request | str, Sure]]:
        name = call.name
        if name in BY_DESCRIPTOR or name == BY_HANDLE:
            data, letters = (alike.own, "w") if name in BY_DESCRIPTOR else (alike.made, of_flags(alike.flags))
            yield from self._object(data, letters, BY_NUMBER)
        elif name in ("mmap", "mmap2") and alike.flags:
            yield from self._object(alike.own, "x", NO_FILE)
        elif name in ("mprotect", "pkey_mprotect") and alike.flags:
            yield PROTECTED, "object"
        elif name in LETTERS:
            flags = _CREAT if name == "creat" else NO_FLAGS if alike.flags == UNREAD else alike.flags
            texts, starts = (alike.path, alike.other), (alike.start, alike.second)
            for number, (letters, position) in enumerate(zip(LETTERS[name], paths_of(call), strict=False)):
                letters = of_flags(flags) if letters == "flags" else letters
                if not letters:
                    continue
                if number == 0 and alike.made is not None and alike.errno == 0:
                    yield from self._object(alike.made, letters, CUT)
                    continue
                if alike.flags != UNREAD and flags & IN_ROOT:
                    yield SCOPED, "object"
                    continue
                relative = position > 0 and call.args[position - 1].kind == "dirfd"
                yield self._named(
                    name, texts[number], starts[number] if relative else None, letters, flags, alike.place
                )

    def _object(self, data: bytes | None, letters: str, otherwise: str) -> Iterator[tuple[Request | str, Sure]]:
        """What a descriptor is; nothing of one that has no path."""
        path = path_of(data) if data is not None else None
        if path is None:
            yield otherwise, "object"
        elif path and letters and not (is_deleted(data or b"") and "x" not in letters):
            yield PathRequest(os.fsdecode(path), frozenset(letters)), "object"

    def _named(
        self, name: str, text: bytes | None, start: bytes | None, letters: str, flags: int, place: int
    ) -> tuple[Request | str, Sure]:
        if text is None and not (start and name.startswith("utime")):
            return UNREADABLE, "object"
        if text and b"\0" not in text:
            return CUT, "object"
        words = os.fsdecode((text or b"").partition(b"\0")[0])
        if not words:
            object_ = path_of(start) if start else None
            return (PathRequest(os.fsdecode(object_), frozenset(letters)) if object_ else BY_NUMBER), "object"
        if not words.startswith("/"):
            begin = path_of(start) if start else None
            directory = os.fsdecode(begin) if begin else self.folded.directories.path(place)
            if not directory:
                return RELATIVE, "object"
            words = os.path.join(directory, words)
        path, sure = self._resolved(words, follows(name, flags))
        return PathRequest(path, frozenset(letters)), sure

    def _resolved(self, words: str, follow: bool) -> tuple[str, Sure]:
        path = os.path.normpath("/" + words.lstrip("/"))
        exact = ".." not in words.split("/") and os.path.dirname(path) in self._real
        if exact and (path in self._real or not follow):
            return path, "object"
        if self.links is plain:
            return path, "words"
        return self.links(words, follow), "here"

    # ---- addresses ------------------------------------------------------------------------------------------------------

    def _nets(self, call: Syscall, alike: Alike) -> Iterator[tuple[Request | str, Sure]]:
        if call.name == "socket":
            family, kind, protocol = alike.flags >> 32, alike.flags >> 16 & 0xFFFF, alike.flags & 0xFFFF
            yield SocketRequest(family, kind, protocol), "object"
        elif call.name in ("listen", "accept", "accept4"):
            yield from self._listens(alike)
        elif call.name in ADDRESSED:
            yield from self._addressed(call.name, alike)

    def _listens(self, alike: Alike) -> Iterator[tuple[Request | str, Sure]]:
        known = endpoints(alike.own or b"")
        if known is None:
            yield NO_SOCKET, "object"
        elif known.address is not None:
            yield NetRequest(_protocol(known.name), known.address, known.port, outward=False), "object"

    def _addressed(self, name: str, alike: Alike) -> Iterator[tuple[Request | str, Sure]]:
        data, outward = alike.address, name != "bind"
        if data is None:
            if name in ("connect", "bind") or (name == "sendto" and alike.flags):
                yield UNREADABLE, "object"
            return
        if name == "sendmmsg" and alike.flags > 1 and data:
            yield MESSAGES, "object"
        family = int.from_bytes(data[:2], "little") if len(data) >= 2 else 0
        if family == socket.AF_UNIX and len(data) > 2:
            yield from self._unix(data[2:], alike, outward)
        elif family in (socket.AF_INET, socket.AF_INET6):
            known = endpoints(alike.own or b"")
            protocol = _protocol(known.name) if known else ANY_PROTOCOL
            request = _inet(family, data, protocol, outward)
            yield (request or UNREADABLE), "object"

    def _unix(self, name: bytes, alike: Alike, outward: bool) -> Iterator[tuple[Request | str, Sure]]:
        if name[:1] == b"\0":
            yield NetRequest("unix", abstract=os.fsdecode(name[1:]), outward=outward), "object"
            return
        words, path, sure = os.fsdecode(name.partition(b"\0")[0]), "", "object"
        if not words.startswith("/"):
            directory = self.folded.directories.path(alike.place)
            if directory is None:
                yield RELATIVE, "object"
                return
            words = os.path.join(directory, words)
        path, sure = self._resolved(words, outward)
        yield NetRequest("unix", path=path, outward=outward), sure
        if not outward:
            yield PathRequest(path, frozenset("w")), sure


def _inet(family: int, data: bytes, protocol: str, outward: bool) -> NetRequest | None:
    at, size, kind = (4, 4, IPv4Address) if family == socket.AF_INET else (8, 16, IPv6Address)
    if len(data) < at + size:
        return None
    port = None if protocol == "other" else int.from_bytes(data[2:4], "big")
    return NetRequest(protocol, kind(data[at : at + size]), port, outward=outward)


def _protocol(name: str) -> str:
    """What rules call the protocol of a socket that /proc/net names so."""
    if name.startswith(("TCP", "MPTCP", "SMC")):
        return "tcp"
    return "udp" if name.startswith("UDP") else "other"


def each(request: Request) -> Iterable[Request]:
    """What a request may be: for every protocol where that is not known."""
    if isinstance(request, NetRequest) and request.protocol == ANY_PROTOCOL:
        return [replace(request, protocol=one) for one in ("tcp", "udp", "other")]
    return (request,)


def shown(request: Request) -> str:
    """A request in words: ``r /etc/passwd``, ``tcp 10.0.0.1:80``, ``unix /run/x``; of a call its name."""
    if isinstance(request, PathRequest):
        return f"{''.join(letter for letter in 'rwx' if letter in request.access)} {request.path}"
    if isinstance(request, CallRequest):
        return request.call
    if isinstance(request, SocketRequest):
        return f"socket {request.family},{request.type},{request.protocol}"
    if request.protocol == "unix":
        return f"unix {request.path or ('@' + request.abstract if request.abstract is not None else '')}"
    host = f"[{request.address}]" if isinstance(request.address, IPv6Address) else str(request.address)
    where = host if request.port is None else f"{host}:{request.port}"
    return f"{'any' if request.protocol in (ANY_PROTOCOL, 'other') else request.protocol} {where}"
