"""The columns of a recording, its kinds of rows, and what it says of itself. docs/recording.md is the promise."""

from __future__ import annotations

import json
import platform
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from isotrace import __version__
from isotrace.errors import IsotraceError
from isotrace.trace import clock, events, plan

if TYPE_CHECKING:  # 60 ms
    import pyarrow as pa

#: The version of the format. A change that an older isotrace would misread is a new one; a new column is none.
FORMAT = 1

#: By number; the first eight are kinds of events, the others are the recording's own.
KINDS = (
    *("call", "exec_enter", "exec_name", "exit", "signal", "unfinished", "refused"),
    *("lost", "process", "clock", "end"),
)
PROCESS, CLOCK, END = range(events.LOST + 1, len(KINDS))

T = TypeVar("T")
_METADATA = b"isotrace"
ARGS = 6


@cache
def names() -> tuple[str, ...]:
    """What the column ``name`` can be, in a fixed order; the last stands for numbers that are no call's."""
    return (*sorted({call.name for call in plan.all_calls().values()}), "")


@cache
def name_of_slot() -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Slot → index in ``names()``."""
    index = {name: number for number, name in enumerate(names())}
    found = np.full(events.SLOTS, len(names()) - 1, dtype=np.uint16)
    for slot, call in plan.all_calls().items():
        found[slot] = index[call.name]
    return found


@cache
def arrow(metadata: bytes = b"") -> pa.Schema:
    """The schema, with what the recording says of itself."""
    import pyarrow as pa

    def words(index: pa.DataType) -> pa.DataType:
        return pa.dictionary(index, pa.utf8())

    columns = [
        ("kind", words(pa.uint8())),
        ("name", words(pa.uint16())),
        ("time", pa.timestamp("ns", "UTC")),
        ("wall_offset", pa.int64()),
        ("duration", pa.uint64()),
        *((name, pa.uint32()) for name in ("pid", "tid", "ppid", "uid")),
        ("comm", pa.binary(16)),
        ("abi", words(pa.uint8())),
        ("number", pa.uint32()),
        ("slot", pa.uint16()),
        ("result", pa.int64()),
        ("errno", pa.uint16()),
        *((f"arg{i}", pa.uint64()) for i in range(ARGS)),
        ("captures", pa.uint8()),
        ("memory", pa.binary()),
        ("note", pa.utf8()),
    ]
    return pa.schema(columns, metadata={_METADATA: metadata} if metadata else None)


@dataclass(frozen=True)
class Head:
    """What a recording says of itself at its beginning. ``began`` is in ns since the epoch, ``monotonic`` that moment by
    CLOCK_MONOTONIC.

    ``calls`` is the expression of --calls, or None for all; ``run`` is the same in all parts of one run, ``part`` counts
    from 0. ``checksums``: the kind that each batch has. ``notices``: whether signals were recorded; ``durations``: whether
    calls were timed; ``descriptors``: whether what their descriptors are was recorded; ``stacks``: and user stacks;
    ``full``: and all arguments and the environment of execves; ``resolve``: and where paths began;
    ``containers``: and in which container processes were. ``families``: what
    generic netlink's were called when it began, names by number.
    """

    target: str = ""
    calls: str | None = None
    string_limit: int = 256
    notices: bool = True
    durations: bool = True
    descriptors: bool = False
    stacks: bool = False
    full: bool = False
    resolve: bool = False
    containers: bool = False
    redacted: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    format: int = FORMAT
    isotrace: str = __version__
    kernel: str = field(default_factory=platform.release)
    machine: str = field(default_factory=platform.machine)
    host: str = field(default_factory=platform.node)
    boot_id: str = field(default_factory=lambda: _boot_id())
    families: Mapping[int, str] = field(default_factory=dict)
    began: int = 0
    monotonic: int = 0
    run: str = ""
    part: int = 0
    checksums: str = ""

    def pack(self) -> bytes:
        """As the value of the schema's metadata."""
        return json.dumps(asdict(self)).encode()


def begin(head: Head) -> Head:
    """The head of a run that begins now."""
    now = time.monotonic_ns()
    return replace(head, began=now + clock.offset(), monotonic=now, run=uuid.uuid4().hex)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class End:
    """The reconciled counts of a run, as ``run.stats.Stats`` has them. ``reason`` says why it ended, if that is known.

    With ``continued`` this is the end of one part, and another follows.
    """

    seen: int = 0
    delivered: int = 0
    lost: int = 0
    lost_by_call: Mapping[str, int] = field(default_factory=dict)
    extras_lost: int = 0
    not_followed: int = 0
    missed: int = 0
    reason: str = ""
    continued: bool = False

    def pack(self) -> str:
        """As the note of the last row."""
        return json.dumps(asdict(self))

    @staticmethod
    def unpack(note: str) -> End:
        """From such a note. Raises ``ValueError``."""
        return _validated(End, note)


def head_of(schema: pa.Schema, name: str) -> Head:
    """What the recording ``name`` says of itself. Raises ``IsotraceError`` for what is no recording, or too new a one."""
    packed = (schema.metadata or {}).get(_METADATA)
    if packed is None:
        raise IsotraceError(f"{name} is not a recording of isotrace", "isotrace record -o FILE makes one")
    try:
        said = json.loads(packed)
        version = int(said["format"])
        if version < 1:
            raise ValueError(version)
        if version <= FORMAT:
            return _validated(Head, packed)
    except (ValueError, KeyError, TypeError):
        raise IsotraceError(f"{name}: its metadata cannot be read", "record again") from None
    raise IsotraceError(
        f"{name} has format {version}; this isotrace ({__version__}) reads up to {FORMAT}",
        "read it with a later isotrace",
    )


def families_of(schema: pa.Schema) -> Mapping[int, str]:
    """What a recording with this schema says of generic netlink's families; nothing where it does not."""
    return _families((schema.metadata or {}).get(_METADATA, b"{}"))


@lru_cache(maxsize=64)
def _families(packed: bytes) -> Mapping[int, str]:
    found = json.loads(packed).get("families", {})
    return {int(number): str(name) for number, name in found.items()}


def _validated(kind: type[T], packed: bytes | str) -> T:
    """An instance of a dataclass; what it has no field for is left out. Raises ``ValueError``.

    A word of the command that is not UTF-8 is there as Python has it, with halves of characters: ``?`` stands for each.
    """
    from pydantic import TypeAdapter

    whole = json.dumps(json.loads(packed), ensure_ascii=False).encode(errors="replace")
    return TypeAdapter(kind).validate_json(whole)
