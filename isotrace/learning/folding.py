"""The rows of recordings, folded: calls that are alike in all that a policy judges, or a comparison looks at, are one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from isotrace.catalog.model import Syscall
from isotrace.catalog.rings import act
from isotrace.learning.directories import AT_FDCWD, Directories
from isotrace.policy.accesses import ADDRESSED, BY_DESCRIPTOR, BY_HANDLE, LETTERS
from isotrace.recording import captures, encode, schema
from isotrace.recording.friendly import State, file_of_exec, places_in
from isotrace.recording.reader import Recording
from isotrace.trace import events, plan
from isotrace.trace.captures import MADE_RESULT, made_by

#: The columns that are read.
COLUMNS = (
    *("kind", "name", "time", "pid", "tid", "ppid", "uid", "comm", "abi", "slot", "result", "errno"),
    *(f"arg{i}" for i in range(schema.ARGS)),
    *("captures", "memory", "note"),
)
#: How many rows are remembered of calls that are alike.
FIRST = 5
#: Flags that could not be read.
UNREAD = 2**64 - 1
#: Of an openat2, beside its flags: its directory is the root of its path.
IN_ROOT, _RESOLVE_IN_ROOT = 1 << 40, 0x10
_PROT_EXEC, _MAP_ANONYMOUS, _SOCK_TYPE = 4, 0x20, 0xF
_LISTENS = frozenset(("listen", "accept", "accept4"))
_MAPS = frozenset(("mmap", "mmap2"))
_KEYS = (
    "slot",
    "kind",
    "errno",
    "comm",
    "flags",
    "place",
    "path",
    "other",
    "start",
    "second",
    "address",
    "made",
    "own",
)


class At(NamedTuple):
    """A row: of which recording (by index) and its number in it, from 0."""

    recording: int
    row: int


@dataclass(frozen=True)
class Alike:
    """Calls that are alike. ``path`` and ``other`` are as the caller gave them, ended by NUL when whole; None where there
    is none, or none could be read. ``start`` and ``second`` say what the descriptors are that these are relative to,
    ``own`` what the first argument (of mmap the file) is, ``made`` what a descriptor is that the call made: ``struct
    descriptor`` and names, None where that was not recorded. ``place`` is the working directory of ``Directories``.

    ``flags`` is what of the registers matters: flags of an open, family and type and protocol of a socket, whether a
    message has an address, of mmap 4 for code.
    """

    slot: int
    finished: bool
    errno: int
    comm: bytes
    flags: int
    place: int
    path: bytes | None
    other: bytes | None
    start: bytes | None
    second: bytes | None
    address: bytes | None
    made: bytes | None
    own: bytes | None


@dataclass
class Tally:
    """How often, and the first rows."""

    count: int = 0
    first: list[At] = field(default_factory=list)

    def add(self, count: int, rows: Sequence[At], most: int | None = FIRST) -> None:
        """So many more, of which the first ``most`` rows are kept (None: all)."""
        self.count += count
        self.first = sorted([*self.first, *rows])[:most]


@dataclass
class Folded:
    """What recordings come to. ``kinds`` counts rows that are no calls, by ``schema.KINDS``; ``answers`` are refusals and
    questions, by the JSON of their notes and the path or address. Of what is alike the first ``most`` rows are
    remembered, all where that is None.
    """

    most: int | None = FIRST

    alike: dict[Alike, Tally] = field(default_factory=dict)
    directories: Directories = field(default_factory=Directories)
    kinds: dict[str, int] = field(default_factory=dict)
    answers: dict[tuple[str, bytes], Tally] = field(default_factory=dict)
    rows: int = 0

    def take(self, recording: Recording, index: int) -> None:
        """Read all of a recording, the ``index``-th. Raises ``IsotraceError``."""
        state = State.of(recording.head)
        self.directories.begin(recording.head)
        number = 0
        for rows in recording.arrow(COLUMNS):
            recording.attempt(rows, partial(self._add, at=At(index, number), state=state))
            number += rows.num_rows

    def _add(self, rows: pa.RecordBatch, at: At, state: State) -> bool:
        found = Columns(rows, state)
        for kind, count in zip(*np.unique(found.kinds, return_counts=True), strict=True):
            name = schema.KINDS[kind] if kind < len(schema.KINDS) else "?"
            self.kinds[name] = self.kinds.get(name, 0) + int(count)
        places = self.directories.places(found)
        for alike, numbers in _groups(found, places):
            rows_of = [At(at.recording, at.row + number) for number in numbers[: self.most]]
            self.alike.setdefault(alike, Tally()).add(len(numbers), rows_of, self.most)
        for number in np.flatnonzero(found.kinds == events.REFUSED).tolist():
            key = (rows.column("note")[number].as_py() or "", found.what(number))
            self.answers.setdefault(key, Tally()).add(1, [At(at.recording, at.row + number)])
        self.rows += rows.num_rows
        return True


class Columns:
    """Columns of some rows as arrays, and what was captured."""

    def __init__(self, rows: pa.RecordBatch, state: State) -> None:
        self.rows = rows
        self.kinds = encode.kinds(rows)
        self.slots = rows.column("slot").to_numpy()
        if (self.slots >= events.SLOTS).any():
            raise ValueError("a call slot that there cannot be")
        self.results = rows.column("result").to_numpy()
        self.pids = rows.column("pid").to_numpy()
        self.args = [rows.column(f"arg{i}").to_numpy() for i in range(schema.ARGS)]
        self.calls = (self.kinds == events.CALL) | (self.kinds == events.UNFINISHED)
        self.succeeded = (self.kinds == events.CALL) & (self.results >= 0)
        self.programs = file_of_exec(rows, state.files)

    def captured(self, which: npt.NDArray[np.uint16], hidden: npt.NDArray[np.bool_] | None = None) -> pa.BinaryArray:
        """One capture of each row: that of the place ``which[slot]``, null where there is none, or it is ``hidden``."""
        memory = self.rows.column("memory")
        at, count = encode.offsets(memory)[:-1], self.rows.column("captures").to_numpy()
        shown = self.calls if hidden is None else self.calls & ~hidden
        return captures.pick(memory.buffers()[2], at, count, np.where(shown, which[self.slots], captures.NOWHERE))

    def one(self, number: int, arg: int, part: int) -> bytes | None:
        """A capture of one row."""
        memory = self.rows.column("memory").slice(number, 1)
        at, count = encode.offsets(memory)[:-1], self.rows.column("captures").to_numpy()[number : number + 1]
        where = np.array([captures.place(arg, part)], dtype=np.uint16)
        return captures.pick(memory.buffers()[2], at, count, where)[0].as_py()  # type: ignore[no-any-return]

    def what(self, number: int) -> bytes:
        """Of a refusal, the path or address."""
        return (self.one(number, 0, events.PART_SELF) or b"").rstrip(b"\0")

    def flags(self) -> npt.NDArray[np.uint64]:
        """What of the registers matters, by row."""
        found = np.zeros(len(self.slots), dtype=np.uint64)
        for position, slots in _flag_places().items():
            here = slots[self.slots]
            found[here] = self.args[position][here] & np.uint64(0xFFFFFFFF)
        here = _named(frozenset(("socket",)))[self.slots]
        family, kind, protocol = (self.args[i] & np.uint64(0xFFFF) for i in range(3))
        kind = kind & np.uint64(_SOCK_TYPE)
        found[here] = (family << np.uint64(32) | kind << np.uint64(16) | protocol)[here]
        here = _named(frozenset(("sendto",)))[self.slots]
        found[here] = (self.args[4] != 0)[here]
        here = _named(frozenset(("sendmmsg",)))[self.slots]
        found[here] = self.args[2][here]
        for number in np.flatnonzero(self.calls & _called("openat2")[self.slots]).tolist():
            how = self.one(number, 2, events.PART_SELF) or b""
            scoped = int.from_bytes(how[16:24], "little") & _RESOLVE_IN_ROOT
            flags = int.from_bytes(how[:8], "little") | (IN_ROOT if scoped else 0)
            found[number] = flags if len(how) >= 8 else UNREAD
        here = _called("io_uring:openat2")[self.slots] & (self.args[4] & np.uint64(_RESOLVE_IN_ROOT) != 0)
        found[here] |= np.uint64(IN_ROOT)
        here = _named(_MAPS)[self.slots]
        file = (self.args[2] & np.uint64(_PROT_EXEC)) * (self.args[3] & np.uint64(_MAP_ANONYMOUS) == 0)
        found[here] = file[here]
        here = _named(frozenset(("mprotect", "pkey_mprotect")))[self.slots]
        found[here] = (self.args[2] & np.uint64(_PROT_EXEC))[here]
        return found


def _groups(found: Columns, places: npt.NDArray[np.int64]) -> Iterator[tuple[Alike, list[int]]]:
    """The calls that are alike among some rows: what they are, and which rows."""
    index = np.flatnonzero(found.calls)
    if not len(index):
        return
    flags = found.flags()
    path = _with_programs(found)
    own = found.captured(_own(), _named(_MAPS)[found.slots] & (flags == 0))
    needs = _starts_here(path, found)
    columns = {
        "slot": pa.array(found.slots),
        "kind": pa.array(found.kinds),
        "errno": found.rows.column("errno"),
        "comm": found.rows.column("comm"),
        "flags": pa.array(flags),
        "place": pa.array(np.where(needs, places, -1)),
        "path": path,
        "other": found.captured(_path(1)),
        "start": found.captured(_start(0)),
        "second": found.captured(_start(1)),
        "address": found.captured(_address()),
        "made": found.captured(_made()),
        "own": own,
        "row": pa.array(np.arange(len(found.slots))),
    }
    table = pa.table(columns).take(pa.array(index))
    grouped = table.group_by(list(_KEYS), use_threads=False).aggregate([("row", "list")])
    listed = grouped.column("row_list").to_pylist()
    for key, rows in zip(zip(*(grouped.column(name).to_pylist() for name in _KEYS), strict=True), listed, strict=True):
        slot, kind, errno, comm, flag, place, *rest = key
        alike = Alike(slot, kind == events.CALL, errno, comm.partition(b"\0")[0], flag, place, *rest)
        yield alike, sorted(rows)


def _with_programs(found: Columns) -> pa.BinaryArray:
    """The first path of each call; of an execve that succeeded the file that was run."""
    path = found.captured(_path(0))
    if not found.programs:
        return path
    values = path.to_pylist()
    for number, file in found.programs.items():
        values[number] = file + b"\0"
    return pa.array(values, pa.binary())


def _starts_here(path: pa.BinaryArray, found: Columns) -> npt.NDArray[np.bool_]:
    """Which calls have a path that may begin in the working directory: it is judged, and is not absolute."""
    judged: npt.NDArray[np.bool_] = _named(frozenset(LETTERS) | {"bind", "connect"})[found.slots] & found.calls
    for position, slots in _directory_places().items():
        of_descriptor = found.args[position] & np.uint64(0xFFFFFFFF) != AT_FDCWD
        judged &= ~(slots[found.slots] & of_descriptor)
    one = judged & (_path(1)[found.slots] == captures.NOWHERE) & _named(frozenset(LETTERS))[found.slots]
    some = np.flatnonzero(one)
    if len(some):
        texts = path.take(pa.array(some)).to_pylist()
        judged[some] = [text is not None and not text.startswith(b"/") for text in texts]
    return judged


# ---- where in a call what matters is ------------------------------------------------------------------------------------


@cache
def _named(names: frozenset[str]) -> npt.NDArray[np.bool_]:
    """The slots of these calls, and of operations of io_uring that do the same."""
    return plan.slots(lambda call: act(call.name) in names)


@cache
def _called(name: str) -> npt.NDArray[np.bool_]:
    return plan.slots(lambda call: call.name == name)


@cache
def _flag_places() -> dict[int, npt.NDArray[np.bool_]]:
    """Position of an argument → the slots of the calls whose flags it is."""
    found: dict[int, npt.NDArray[np.bool_]] = {}
    for slot, call in plan.all_calls().items():
        if act(call.name) in LETTERS or call.name == BY_HANDLE:
            for position, arg in enumerate(call.args):
                if arg.name in ("flags", "flag", "at_flags"):
                    found.setdefault(position, np.zeros(events.SLOTS, dtype=bool))[slot] = True
                    break
    return found


@cache
def _directory_places() -> dict[int, npt.NDArray[np.bool_]]:
    """Position → the slots of the calls that have a directory's descriptor there."""
    found: dict[int, npt.NDArray[np.bool_]] = {}
    for slot, call in plan.all_calls().items():
        for position, arg in enumerate(call.args):
            if arg.kind == "dirfd":
                found.setdefault(position, np.zeros(events.SLOTS, dtype=bool))[slot] = True
    return found


def paths_of(call: Syscall) -> list[int]:
    """The positions of its paths that are judged."""
    return [position for position, arg in enumerate(call.args) if arg.kind == "path"]


@cache
def _path(number: int) -> npt.NDArray[np.uint16]:
    def choose(call: Syscall) -> tuple[int, int] | None:
        places = paths_of(call) if act(call.name) in LETTERS or call.name == "chdir" else []
        return (places[number], events.PART_SELF) if len(places) > number else None

    return places_in(choose)


@cache
def _start(number: int) -> npt.NDArray[np.uint16]:
    """The descriptor that the path of that number is relative to."""

    def choose(call: Syscall) -> tuple[int, int] | None:
        places = paths_of(call) if act(call.name) in LETTERS else []
        if len(places) <= number or not places[number] or call.args[places[number] - 1].kind != "dirfd":
            return None
        return places[number] - 1, events.PART_FILE

    return places_in(choose)


@cache
def _address() -> npt.NDArray[np.uint16]:
    kinds = {"sockaddr": events.PART_SELF, "inmsg": events.PART_NAME, "inmmsg": events.PART_NAME}

    def choose(call: Syscall) -> tuple[int, int] | None:
        if act(call.name) not in ADDRESSED:
            return None
        return next(((i, kinds[arg.kind]) for i, arg in enumerate(call.args) if arg.kind in kinds), None)

    return places_in(choose)


@cache
def _made() -> npt.NDArray[np.uint16]:
    def choose(call: Syscall) -> tuple[int, int] | None:
        opens = LETTERS.get(call.name) == ("flags",) or call.name == BY_HANDLE
        return (events.RESULT_ARG, events.PART_FILE) if opens and made_by(call) == MADE_RESULT else None

    return places_in(choose)


@cache
def _own() -> npt.NDArray[np.uint16]:
    judged = ADDRESSED | BY_DESCRIPTOR | _LISTENS | _MAPS | {"fchdir"}

    def choose(call: Syscall) -> tuple[int, int] | None:
        if call.name not in judged:
            return None
        return next(((i, events.PART_FILE) for i, arg in enumerate(call.args) if arg.kind == "fd"), None)

    return places_in(choose)
