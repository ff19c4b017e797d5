"""What the ways are tried on: a place in a temporary directory, and rules on it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from isotrace.enforce.selftest import child
from isotrace.policy import nets, paths
from isotrace.policy.model import Action, Rule

_ACTION = Action("errno", child.REFUSED)
_PROGRAM = "/bin/true"


class Scratch:
    """``secret`` is what rules forbid: a file, a program, an empty directory, a socket; ``place`` is beside it, and free.

    ``port``: of 127.0.0.1, where somebody listens by TCP and by UDP.
    """

    def __init__(self, above: Path, port: int) -> None:
        self.secret, self.place, self.port = above / "secret", above / "place", port

    def at(self, name: str) -> str:
        """A path below the forbidden directory."""
        return str(self.secret / name)

    def free(self, name: str) -> str:
        """A path below the free one."""
        return str(self.place / name)

    def rules(self, kinds: frozenset[str]) -> list[Rule]:
        """Rules on it, of the kinds "path", "net" and "unix"."""
        found: list[Rule] = []
        if "path" in kinds:
            found.append(paths.parse(f"{self.secret}/**", allow=False, action=_ACTION))
            found.append(
                paths.parse(f"{self.place}/**", allow=True)
            )  # whatever the user's rules say of temporary files
        words = [*([f"any:127.0.0.1:{self.port}"] if "net" in kinds else [])]
        words += [f"unix:{self.secret}/socket", f"unix:@{self.secret}"] if "unix" in kinds else []
        return [*found, *(nets.parse(word, allow=False, action=_ACTION) for word in words)]


@contextmanager
def scratch() -> Iterator[Scratch]:
    """One, which is gone when the block ends."""
    above = Path(os.path.realpath(tempfile.mkdtemp(prefix="isotrace-verify-")))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, above, ignore_errors=True)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        one = Scratch(above, tcp.getsockname()[1])
        for directory in (one.secret, one.place, one.secret / "empty"):
            directory.mkdir()
        for name in ("file", "other", "needless"):
            (one.secret / name).write_bytes(b"secret")
        shutil.copy(_PROGRAM, one.secret / "program")
        (one.place / "file").write_bytes(b"free")
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", one.port))
        for address in (one.at("socket"), f"\0{one.secret}"):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            waiting.bind(address)
            waiting.listen(64)
        yield one
