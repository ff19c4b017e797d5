"""What stays in force when isotrace is killed: links of programs, and maps, pinned in a bpf file system.

It does until isotrace is there again for the same processes, or these have ended: then a process of isotrace's that
outlived it lets go (``enforce/throttle.py``). Where that was killed as well, a later isotrace does.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from isotrace.backends.pids import Pids
from isotrace.errors import IsotraceError, KernelError
from isotrace.kernel import bpf, procfs
from isotrace.trace import target

#: The maps that tell who is followed, and how many have become so.
MAPS = ("tree", "followed", "joined")
_LINK = "link-"
_NAME = re.compile(r"isotrace-(\d+)-(\d+)")
_LOOK, _MOST = 1.0, 10.0  # seconds


def place() -> Path:
    """The directory for what this process pins. Raises ``IsotraceError`` where there is no bpf file system."""
    return _root() / f"isotrace-{os.getpid()}-{procfs.started(os.getpid())}"


def _root() -> Path:
    points = [mount.point for mount in procfs.mounts() if mount.kind == "bpf"]
    if not points:
        raise IsotraceError(
            "--fail-closed keeps programs in a bpf file system, and none is mounted", "mount -t bpf bpf /sys/fs/bpf"
        )
    return Path("/sys/fs/bpf" if "/sys/fs/bpf" in points else points[0])


def pin(where: Path, links: Sequence[int], maps: Mapping[str, int]) -> None:
    """Pin the links, and those of ``maps`` that tell who is left. Raises ``KernelError``; then nothing is pinned."""
    try:
        where.mkdir(0o700)
        for name in MAPS:  # before the links, and removed after them: what is in force can be told the end of
            if name in maps:
                bpf.obj_pin(maps[name], str(where / name))
        for number, fd in enumerate(links):
            bpf.obj_pin(fd, str(where / f"{_LINK}{number}"))
    except OSError as error:
        remove(where)
        raise KernelError(f"cannot keep the programs in {where}: {error.strerror}", "leave --fail-closed out") from None


def remove(where: Path) -> None:
    """Let go of what is pinned there, if anything is."""
    with suppress(OSError):
        for name in sorted(os.listdir(where), key=lambda name: not name.startswith(_LINK)):
            os.unlink(where / name)
        where.rmdir()


@dataclass(frozen=True)
class Left:
    """What an isotrace that was killed has left in force."""

    where: Path

    def members(self) -> set[int] | None:
        """The processes that it is in force for; None where that cannot be told."""
        with ExitStack() as closing:
            try:
                names = set(os.listdir(self.where)) & set(MAPS[:2])
                found = [pid for name in names for pid in self._pids(name, closing).members()]
            except (OSError, ValueError):
                return None
            return {pid for pid in found if target.lives(pid)} if names else None

    def _pids(self, name: str, closing: ExitStack) -> Pids:
        fd = bpf.obj_get(str(self.where / name))
        closing.callback(os.close, fd)
        pids = Pids(fd)
        closing.callback(pids.close)
        return pids

    def let_go(self) -> None:
        """Remove all, and return when none of the programs runs any more: that is a while after their names are gone."""
        programs = set()
        for entry in self.where.glob(f"{_LINK}*"):
            with suppress(OSError):
                fd = bpf.obj_get(str(entry))
                programs.add(bpf.linked_program(fd))
                os.close(fd)
        remove(self.where)
        until = time.monotonic() + _MOST
        while any(map(bpf.has_program, programs)) and time.monotonic() < until:
            time.sleep(0.01)

    def joined(self) -> bytes | None:
        """How many have become members, None where that is not known."""
        try:
            fd = bpf.obj_get(str(self.where / "joined"))
        except OSError:
            return None
        try:
            return bpf.map_lookup(fd, bytes(4), 8)
        finally:
            os.close(fd)

    def over(self) -> bool:
        """Whether nothing is in force, or nobody is left for it. True is certain, as in ``backends.attached.Attached``."""
        before = self.joined()
        if self.members() == set() and before is not None and self.joined() == before:
            return True
        return self.where.is_dir() and not any(self.where.glob(f"{_LINK}*"))


def left() -> Iterator[Left]:
    """What isotraces that are no more have left in force."""
    try:
        entries = sorted(_root().iterdir())
    except (IsotraceError, OSError):
        return
    for entry in entries:
        match = _NAME.fullmatch(entry.name)
        if match and procfs.started(int(match[1])) != int(match[2]):
            yield Left(entry)


def take_over(pids: set[int]) -> list[Left]:
    """Let go of what was left in force for none but ``pids``, which are judged by others now; returns what was not."""
    kept = []
    for one in left():
        if one.over() or ((members := one.members()) and members <= pids):
            one.let_go()
        else:
            kept.append(one)
    return kept


def outlive(where: Path) -> None:
    """Once isotrace is no more: let go of what it left when nobody is left for whom it is."""
    one = Left(where)
    while where.exists():
        if one.over():
            remove(where)
        time.sleep(_LOOK)
