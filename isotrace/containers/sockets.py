"""What runtimes say on their sockets by Docker's API, which podman has as well: for what their files do not tell.

On a user's socket that user answers: anything, at any length, at any speed. So bytes and time are counted where they come
in, and the user's file systems are not entered. What is connected to is the file that was looked at, whatever has its name
by then, and who listens there is its owner. What is said is believed as little as a file (cgroups.py).
"""

from __future__ import annotations

import os
import re
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isotrace.containers import runtimes
from isotrace.containers.runtimes import Record
from isotrace.containers.states import States, parsed
from isotrace.decode.quote import safe
from isotrace.kernel import procfs

_SECONDS = 2.0  # in which a socket says all that it has to say
_PAUSE = 2.0  # seconds after an answer in which it is not asked again
_BYTES, _LISTED = 16 << 20, 4096  # of what it says, and containers of its list
_USERS_BYTES, _USERS_LISTED = 1 << 20, 512  # of a user's likewise
_ALONE = 16  # containers that are asked about one by one: no more can be meant
_USERS = 64  # whose sockets are asked
_ROOT = 0  # whose root's sockets are
_NAMES = {"docker.sock": "docker", "podman/podman.sock": "podman"}
_UID = re.compile(r"[1-9][0-9]{0,9}")
_SELF = Path("/proc/self")  # whatever procfs.PROC is: the descriptors are this process's

Wanted = Callable[[Record], bool]


class _NotAsked(Exception):
    """Why its answer is none, for the user."""


@dataclass(frozen=True)
class Socket:
    """One at ``path`` below /run, of the runtime of a user, or of root's (0)."""

    path: str
    runtime: str
    user: int

    @property
    def owner(self) -> int:
        """Whose its file and its server have to be."""
        return self.user or _ROOT

    @property
    def bytes(self) -> int:
        """What it may say in all."""
        return _USERS_BYTES if self.user else _BYTES

    @property
    def listed(self) -> int:
        """How many containers it may have."""
        return _USERS_LISTED if self.user else _LISTED


@dataclass(frozen=True)
class Answer:
    """What was said; ``troubles`` are of sockets that said nothing that can be used, each with the reason."""

    records: tuple[Record, ...] = ()
    troubles: tuple[tuple[str, str], ...] = ()

    def told(self, states: States) -> list[Record]:
        """The records, with the troubles kept among those of the files."""
        for path, why in self.troubles:
            states.doubt(path, why)
        return list(self.records)


class Asking:
    """``root`` is put before every path. ``wanted`` says which containers are worth a question of their own."""

    def __init__(self, root: Path, wanted: Wanted) -> None:
        self._states, self._wanted = States(root), wanted

    def __call__(self, uid: int | None) -> Answer:
        """What root's runtimes say (0), a user's, or those of all users (None). It takes two seconds at the most."""
        if uid is not None:
            return self._ask([*_of(uid)])
        users = [int(name) for name in self._states.names("/run/user") if _UID.fullmatch(name)]
        return self._ask([found for user in sorted(users)[:_USERS] for found in _of(user)])

    def _ask(self, sockets: Sequence[Socket]) -> Answer:
        """All at once, so that none takes the others' time."""
        answers: list[Answer] = [Answer()] * len(sockets)

        def ask(at: int) -> None:
            answers[at] = _answer(self._states, sockets[at], self._wanted)

        threads = [threading.Thread(target=ask, args=(at,), daemon=True) for at in range(len(sockets))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records = tuple(record for answer in answers for record in answer.records)
        return Answer(records, tuple(trouble for answer in answers for trouble in answer.troubles))


class AskingAgain(Asking):
    """The same for who looks again and again, of one user or root: it is waited for while ``patient``. Later a thread asks,
    every other second, and the last answer counts.
    """

    def __init__(self, root: Path, wanted: Wanted) -> None:
        super().__init__(root, wanted)
        self.patient = True
        self._last, self._next = Answer(), 0.0
        self._thread: threading.Thread | None = None

    def __call__(self, uid: int | None) -> Answer:
        """As ``Asking``. All users are not asked: one of them could have isotrace look elsewhere when it matters."""
        if uid is None:
            return Answer()
        if time.monotonic() >= self._next and not (self._thread and self._thread.is_alive()):
            if self.patient:
                self._again(uid)
            else:
                self._thread = threading.Thread(target=self._again, args=(uid,), name="runtime asked", daemon=True)
                self._thread.start()
        return self._last

    def _again(self, uid: int) -> None:
        self._last = super().__call__(uid)
        self._next = time.monotonic() + _PAUSE


def _of(uid: int) -> Iterator[Socket]:
    above = f"user/{uid}/" if uid else ""
    for name, runtime in _NAMES.items():
        yield Socket(above + name, runtime, uid)


def _answer(states: States, asked: Socket, wanted: Wanted) -> Answer:
    path = f"/run/{asked.path}"
    try:
        fd = _opened(states.place("/run"), asked)
        if fd is None:
            return Answer()
        try:
            return Answer(tuple(_records(_Server(fd, asked), asked, wanted)))
        finally:
            os.close(fd)
    except ConnectionRefusedError:  # nobody listens any more
        return Answer()
    except TimeoutError:
        why = f"it does not answer within {_SECONDS:g} s"
    except _NotAsked as error:
        why = str(error)
    except OSError as error:
        why = error.strerror or "no answer"
    except Exception as error:  # whatever http.client makes of what it hears
        why = f"no answer of a runtime's ({safe(repr(error)[:100])})"
    return Answer(troubles=((path, why),))


def _opened(top: str, asked: Socket) -> int | None:
    """The file of the socket, not opened: a descriptor that stands for it; None where there is none. Raises ``OSError``,
    ``_NotAsked``.
    """
    fd = -1
    try:
        fd = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in asked.path.split("/"):
            inner = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = inner
            _check_file_system(fd)
        found = os.fstat(fd)
        if stat.S_ISSOCK(found.st_mode) and found.st_uid != asked.owner:
            raise _NotAsked(f"it is user {found.st_uid}'s, and not asked")
        if stat.S_ISSOCK(found.st_mode):
            kept, fd = fd, -1
            return kept
        return None  # such as a link to the other one, which is asked itself
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        if fd >= 0:
            os.close(fd)


def _check_file_system(fd: int) -> None:
    """Raise ``_NotAsked`` for one that a user may have mounted, whose server need not answer whoever looks into it."""
    mount = procfs.number((_SELF / f"fdinfo/{fd}").read_bytes(), b"mnt_id")
    mounts = procfs.mounts((_SELF / "mountinfo").read_bytes())
    kind = next((found.kind for found in mounts if found.id == mount), "fuse")
    if kind.startswith("fuse"):
        raise _NotAsked("it is in a file system of a user's, and not asked")


class _Server:
    """Who listens there: what one says in all, and for how long, is bounded."""

    def __init__(self, fd: int, asked: Socket) -> None:
        self._fd, self._asked = fd, asked
        self._left, self._until = asked.bytes, time.monotonic() + _SECONDS

    def heard(self, bytes: int) -> None:
        """Count them. Raises ``_NotAsked`` where they are too many."""
        self._left -= bytes
        if self._left <= 0:
            raise _NotAsked(f"it says more than {self._asked.bytes >> 20} MiB")

    def seconds(self) -> float:
        """What is left of them. Raises ``TimeoutError``."""
        if (left := self._until - time.monotonic()) <= 0:
            raise TimeoutError
        return left

    def get(self, path: str) -> Any:
        """What is there as JSON; None where there is nothing. Raises ``OSError``, ``_NotAsked``, and what else may be."""
        from http.client import HTTPConnection

        with _Bounded(self) as connected:
            connected.settimeout(self.seconds())
            connected.connect(f"/proc/self/fd/{self._fd}")
            who = struct.unpack("=iii", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            if who != self._asked.owner:
                raise _NotAsked(f"user {who} listens there, and is not asked")
            connection = HTTPConnection("localhost")
            connection.sock = connected
            connection.request("GET", path, headers={"Connection": "close"})
            with connection.getresponse() as response:
                if response.status == 404:
                    return None
                if response.status != 200:
                    raise _NotAsked(f"it answers with status {response.status}")
                data = response.read(self._asked.bytes)
        if (found := parsed(os.fsdecode(data))) is None:
            raise _NotAsked("it answers with what is not JSON")
        return found


class _Bounded(socket.socket):
    """A connection that reads no more, and no longer, than there is left, however often it is read."""

    def __init__(self, server: _Server) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server = server

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(self._server.seconds())
        got = super().recv_into(buffer, nbytes, flags)
        self._server.heard(got)
        return got


def _records(server: _Server, asked: Socket, wanted: Wanted) -> Iterator[Record]:
    """Of every container the list's, of those that are wanted and run with the process. Raises as ``_Server.get``."""
    listed = server.get("/containers/json?all=1")
    if not isinstance(listed, list):
        raise _NotAsked("it answers with what is not a list of containers")
    if len(listed) > asked.listed:
        raise _NotAsked(f"it lists more than {asked.listed} containers")
    alone = 0
    for entry in listed:
        record = runtimes.listed(asked.runtime, asked.user, entry)
        if record is None:
            raise _NotAsked("it lists what is not a container")
        if runtimes.may_have_process(entry) and wanted(record):
            alone += 1
            if alone > _ALONE:
                raise _NotAsked(f"it lists more than {_ALONE} running containers of that name")
            record = replace(record, pid=runtimes.process_of(record.id, server.get(f"/containers/{record.id}/json")))
        yield record
