"""A group of records of one system call, as the columns that decoders read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from isotrace.trace.events import CALL, CUT, FAULT, PART_BEFORE, PART_NETLINK, PART_SELF, UNFINISHED, WHOLE, Batch, Blob

Column = list[str]

#: EINTR and the kernel's own codes for a call that a signal interrupts: what time was left has been written.
INTERRUPTED = (-4, -512, -513, -514, -516)


@dataclass(frozen=True)
class ExecArguments:
    """What an execve that succeeded was given, joined from up to three records: see bpf/trace.c.

    ``known``: the arguments that are, where its beginning has no record; their registers are not known then.
    """

    args: tuple[int, ...]
    blobs: tuple[Blob, ...]
    known: frozenset[int] | None = None


def _cut(blob: Blob, size: int) -> Blob:
    if blob.part != PART_SELF or blob.state == FAULT:
        return blob
    return blob._replace(data=blob.data[:size], full=size, state=CUT if size > len(blob.data) else WHOLE)


class Netlink(NamedTuple):
    """What a netlink socket's messages are: its protocol, and what generic netlink's families are called, by number."""

    protocol: int
    families: Mapping[int, str]


class Rows:
    """``len(index)`` records of ``batch``: each property is a list with an entry a record."""

    def __init__(self, batch: Batch, index: Sequence[int], execs: dict[int, ExecArguments] | None = None) -> None:
        self.batch = batch
        self.index = index
        self._execs = execs or {}
        self._picked = batch.events[index]

    def __len__(self) -> int:
        return len(self.index)

    def subset(self, chosen: Sequence[int]) -> Rows:
        """The records at positions ``chosen`` of this group."""
        return Rows(self.batch, [self.index[i] for i in chosen], self._execs)

    def cut(self, arg: int, sizes: Sequence[int | None]) -> Rows:
        """The same records, with the capture of ``arg`` no longer than the argument is; None leaves one as it is."""
        found = Rows(self.batch, self.index, self._execs)
        found.blobs = [
            tuple(_cut(blob, size) if size is not None and blob.arg == arg else blob for blob in blobs)
            for blobs, size in zip(self.blobs, sizes, strict=True)
        ]
        return found

    def half_known(self) -> dict[int, frozenset[int]]:
        """Position of an execve whose beginning has no record → the arguments that are known of it."""
        execs = ((position, self._execs.get(i)) for position, i in enumerate(self.index)) if self._execs else ()
        return {position: one.known for position, one in execs if one is not None and one.known is not None}

    def field(self, name: str) -> list[int]:
        """A field of the event as Python numbers."""
        found: list[int] = self._picked[name].tolist()
        return found

    @cached_property
    def registers(self) -> list[list[int]]:
        """The six argument registers of each record."""
        found: list[list[int]] = self._picked["args"].tolist()
        for position, i in enumerate(self.index):
            if i in self._execs:
                found[position] = list(self._execs[i].args)
        return found

    def arg(self, number: int) -> list[int]:
        """Argument register ``number``."""
        if self._execs:
            return [registers[number] for registers in self.registers]
        found: list[int] = self._picked["args"][:, number].tolist()
        return found

    @cached_property
    def results(self) -> list[int]:
        """What each call returned."""
        return self.field("result")

    @cached_property
    def failed(self) -> list[bool]:
        """Whether each call returned an error: -4095 to -1."""
        return [-4096 < result < 0 for result in self.results]

    @cached_property
    def unfilled(self) -> list[bool]:
        """Whether each call did not fill what it was to fill: it failed, or it has not returned yet."""
        unfinished = [kind == UNFINISHED for kind in self.field("kind")]
        return [failed or waits for failed, waits in zip(self.failed, unfinished, strict=True)]

    @cached_property
    def blobs(self) -> list[tuple[Blob, ...]]:
        """The captures of each record."""
        found = self.batch.blobs_of(self.index)
        if self._execs:
            found = [
                self._execs[i].blobs if i in self._execs else own for i, own in zip(self.index, found, strict=True)
            ]
        return found

    @cached_property
    def netlink(self) -> list[Netlink | None]:
        """The netlink socket that each call was on; None where it was on none, or that is not known."""
        found: list[Netlink | None] = []
        for blobs in self.blobs:
            for blob in blobs:
                if blob[1] == PART_NETLINK:
                    found.append(Netlink(blob.full, self.batch.families))
                    break
            else:
                found.append(None)
        return found

    def parts(self, arg: int, part: int = PART_SELF) -> list[list[Blob]]:
        """The captures that are ``part`` of argument ``arg``."""
        return [[blob for blob in blobs if blob[0] == arg and blob[1] == part] for blobs in self.blobs]

    def of(self, arg: int) -> list[list[Blob]]:
        """All captures of argument ``arg`` from the end of the call, in the order in which they were made."""
        return [[blob for blob in blobs if blob[0] == arg and blob[1] != PART_BEFORE] for blobs in self.blobs]

    def memory(self, arg: int, part: int = PART_SELF) -> list[Blob | None]:
        """The one capture of argument ``arg``, or None where there is none."""
        found: list[Blob | None] = []
        for blobs in self.blobs:
            for blob in blobs:
                if blob[0] == arg and blob[1] == part:
                    found.append(blob)
                    break
            else:
                found.append(None)
        return found

    def given(self, arg: int) -> list[Blob | None]:
        """What the caller gave in an argument that the kernel may write over, None where that is not known.

        That is so of a call that was under way when tracing began. One that was refused before it began wrote nothing.
        """
        return [
            before if before is not None else after if kind != CALL or untouched else None
            for before, after, kind, untouched in zip(
                self.memory(arg, PART_BEFORE), self.memory(arg), self.field("kind"), self._untouched, strict=True
            )
        ]

    @cached_property
    def _untouched(self) -> list[bool]:
        return [-4096 < result < 0 and result not in INTERRUPTED for result in self.results]


__all__ = ["CUT", "FAULT", "Column", "ExecArguments", "Rows"]
