"""A runtime that answers on a unix socket as Docker does, or as somebody does who means no good."""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

Answer = Callable[[str], Iterable[bytes]]


def http(body: bytes, status: str = "200 OK", head: str = "") -> bytes:
    """An answer with that body."""
    return f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def container(id: str, name: str, pid: int = 0, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """What ``docker`` tells of a container."""
    return {
        "Id": id,
        "Names": [f"/{name}"],
        "Labels": labels or {},
        "State": "running" if pid else "exited",
        "Pid": pid,
    }


def docker(*containers: dict[str, Any]) -> Answer:
    """Docker's API, of these containers. The list does not tell of processes."""

    def answer(path: str) -> Iterable[bytes]:
        if path.partition("?")[0] == "/containers/json":
            listed = [{key: value for key, value in one.items() if key != "Pid"} for one in containers]
            return [http(json.dumps(listed).encode())]
        for one in containers:
            if path == f"/containers/{one['Id']}/json":
                state = {"Running": one["Pid"] > 0, "Pid": one["Pid"]}
                return [http(json.dumps({"Id": one["Id"], "Name": one["Names"][0], "State": state}).encode())]
        return [http(b'{"message":"no such container"}', "404 Not Found")]

    return answer


class Runtime:
    """One that listens at ``path`` as a user, and whose file is the ``owner``'s, the same user's where none is named."""

    def __init__(self, path: Path, user: int, answer: Answer, owner: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._asked = mmap.mmap(-1, 8)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            os.chown(path, user if owner is None else owner, -1)
            self._listens, ready = os.pipe()
            self._pid = os.fork()
            if not self._pid:
                with suppress(BaseException):
                    _serve(server, user, answer, self._asked, ready)
                os._exit(0)
        os.close(ready)
        assert os.read(self._listens, 1)

    @property
    def asked(self) -> int:
        """How often somebody connected."""
        return int.from_bytes(self._asked[:8], "little")

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._listens)


def _serve(server: socket.socket, user: int, answer: Answer, asked: mmap.mmap, ready: int) -> None:
    if os.getuid() != user:
        os.setresuid(user, user, user)
    server.listen(16)
    os.write(ready, b"\0")
    while True:
        connected, _ = server.accept()
        with connected, suppress(OSError):
            asked[:8] = (int.from_bytes(asked[:8], "little") + 1).to_bytes(8, "little")
            request = b""
            while b"\r\n\r\n" not in request:
                request += connected.recv(4096) or b"\r\n\r\n"
            for part in answer(request.split(b" ")[1].decode()):
                connected.sendall(part)
