"""Questions and answers over a unix socket (``--socket``, ``isotrace answer``): a line of JSON each way.

``{"do": "list"}`` and ``{"do": "answer", "id": "3.7", "words": ["allow", "process"]}``. Who may connect is a matter of
the socket's file; the kernel says who did (SO_PEERCRED), and a process that is asked about is not let answer.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import stat
import struct
import threading
import time
from typing import Any

import orjson

from isotrace.asking.background import Background
from isotrace.asking.replies import Replies
from isotrace.decode.quote import safe
from isotrace.errors import IsotraceError, KernelError, UsageError
from isotrace.kernel import procfs

_LINE_MAX, _CLIENTS, _IDLE, _TICK = 1 << 16, 16, 60.0, 0.3
_PEERGROUPS = getattr(socket, "SO_PEERGROUPS", 59)
_CREDENTIALS = struct.Struct("=3i")


def listen(path: str) -> socket.socket:
    """A socket at ``path``, for its owner and the group of its directory. Raises ``IsotraceError``.

    One that nobody listens at any more is replaced.
    """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left_over(path):
            os.unlink(path)
        before = os.umask(0o117)
        try:
            server.bind(path)
        finally:
            os.umask(before)
        group = os.stat(os.path.dirname(os.path.abspath(path))).st_gid
        with contextlib.suppress(PermissionError):  # not one of ours: then the owner alone
            os.chown(path, -1, group)
        server.listen(_CLIENTS)
    except OSError as error:
        server.close()
        raise IsotraceError(
            f"cannot listen at {path!r}: {error.strerror or error}", "give --socket another path"
        ) from None
    return server


def _is_left_over(path: str) -> bool:
    """Whether there is a socket without anybody. Raises ``OSError`` where there is something else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(17, "there is a file that is no socket")
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            return True
    raise OSError(17, "another isotrace asks there")


class Server(Background):
    """Serves ``listener``, and takes its file away when it ends."""

    def __init__(self, listener: socket.socket, replies: Replies) -> None:
        self._listener, self._replies = listener, replies
        self._path = listener.getsockname()
        self._file = os.stat(self._path)
        self._clients: dict[socket.socket, float] = {}  # → since when it has said nothing
        self._lock = threading.Lock()
        self._filters = _filters("self")
        super().__init__("socket", self._run)

    def start(self) -> None:
        """Begin to serve."""
        self._listener.settimeout(_TICK)
        super().start()

    def end(self) -> None:
        """Serve no more."""
        super().end()
        self._listener.close()
        with contextlib.suppress(OSError):
            if os.path.samestat(self._file, os.stat(self._path)):
                os.unlink(self._path)

    def _run(self) -> None:
        while not self.over.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                self.over.wait(_TICK)
                continue
            self._make_room()
            with self._lock:
                self._clients[client] = time.monotonic()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _make_room(self) -> None:
        """Where there are as many as may be, end the one that has said nothing for the longest."""
        with self._lock, contextlib.suppress(OSError):
            if len(self._clients) >= _CLIENTS:
                quiet = min(self._clients, key=self._clients.__getitem__)
                del self._clients[quiet]
                quiet.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, contextlib.suppress(OSError):
                client.settimeout(_IDLE)
                name, why = self._who(client)
                with client.makefile("rb") as lines:
                    while line := lines.readline(_LINE_MAX):
                        self._has_spoken(client)
                        client.sendall(orjson.dumps({"error": why} if why else self._answer(line, name)) + b"\n")
                        if why:
                            return
        finally:
            with self._lock:
                self._clients.pop(client, None)

    def _has_spoken(self, client: socket.socket) -> None:
        with self._lock:
            if client in self._clients:
                self._clients[client] = time.monotonic()

    def _answer(self, line: bytes, name: str) -> dict[str, Any]:
        try:
            said = orjson.loads(line)
            if said == {"do": "list"}:
                return self._replies.listed()
            if (
                isinstance(said, dict)
                and said.get("do") == "answer"
                and _are_strings(said.get("id"), said.get("words"))
            ):
                return {"done": self._replies.answer(said["id"], said["words"], "socket", name)}
        except orjson.JSONDecodeError:
            pass
        except (UsageError, IsotraceError) as error:
            return {"error": error.message, "hint": error.hint}
        return {"error": "that is no request"}

    def _who(self, client: socket.socket) -> tuple[str, str]:
        """The name of whoever connected, and why they may not answer, or ""."""
        pid, uid, gid = _CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        name = _name(uid)
        groups = {gid, *_groups(client)}
        if uid not in (0, os.geteuid(), self._file.st_uid) and os.stat(self._path).st_gid not in groups:
            return name, f"{name} may not answer here"
        if _filters(str(pid)) > self._filters:
            return (
                name,
                "a process under a seccomp filter that isotrace is not under may be the one that is asked about",
            )
        return name, ""


def _are_strings(name: object, words: object) -> bool:
    return isinstance(name, str) and isinstance(words, list) and all(isinstance(word, str) for word in words)


def _groups(client: socket.socket) -> tuple[int, ...]:
    try:
        data = client.getsockopt(socket.SOL_SOCKET, _PEERGROUPS, 4 * 1024)
    except OSError:
        return ()
    return struct.unpack(f"={len(data) // 4}I", data)


def _filters(pid: str) -> int:
    """How many filters a process is under, as all that it forked are; one that is gone is under more than anybody."""
    status = procfs.read(pid, "status")
    if status is None:
        return 1 << 30
    count = procfs.number(status, b"Seccomp_filters")
    return count if count is not None else procfs.number(status, b"Seccomp") or 0


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _printable(said: Any) -> Any:
    """The same with what a terminal might obey escaped: whoever answers at a socket may be anybody."""
    if isinstance(said, dict):
        return {_printable(key): _printable(value) for key, value in said.items()}
    if isinstance(said, list):
        return [_printable(one) for one in said]
    return safe(said) if isinstance(said, str) else said


class Over(IsotraceError):
    """The isotrace that asks has ended."""


_STRANGE = "no isotrace ask answers at that socket"


class Client:
    """The other end. Raises ``IsotraceError`` where nobody is there, or nobody answers."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_IDLE)
        try:
            self._connect(path)
        except PermissionError:
            raise KernelError(
                f"you may not answer at {path!r}", "root may, and the group that owns the socket"
            ) from None
        except OSError as error:
            raise IsotraceError(
                f"no isotrace ask listens at {path!r}: {error.strerror}", "start it with: isotrace ask … --socket PATH"
            ) from None
        self._lines = self._socket.makefile("rb")

    def _connect(self, path: str) -> None:
        """Many may be waiting to be let in. Raises ``OSError``."""
        until = time.monotonic() + _IDLE
        while True:
            try:
                return self._socket.connect(path)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(_TICK / 10)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def listed(self) -> dict[str, Any]:
        """The questions, as ``Replies.listed`` has them."""
        return self._ask({"do": "list"})

    def news(self) -> list[str]:
        """What the other isotrace says is on its own terminal."""
        return []

    def answer(self, name: str, words: list[str]) -> str:
        """Answer one, in words; says what came of it. Raises ``UsageError``."""
        return str(self._ask({"do": "answer", "id": name, "words": words}).get("done"))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            self._socket.sendall(orjson.dumps(request) + b"\n")
            line = self._lines.readline()
            said = orjson.loads(line) if line else {}
        except (BrokenPipeError, ConnectionResetError):
            raise Over("isotrace ask has ended") from None
        except (OSError, orjson.JSONDecodeError) as error:
            raise IsotraceError(f"isotrace does not answer: {error}") from None
        if not line:
            raise Over("isotrace ask has ended")
        if not isinstance(said, dict):
            raise IsotraceError(_STRANGE, "start it with: isotrace ask … --socket PATH")
        said = _printable(said)
        if "error" in said:
            raise UsageError(str(said["error"]), str(said.get("hint", "")))
        return dict(said)
