"""Columns that people ask for, made of a recording's own: text for names, paths and addresses, decoded calls.

Each column says what it is made of, so that a query costs only what it asks about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from isotrace.catalog.model import Syscall
from isotrace.decode.descriptors import described
from isotrace.decode.errnos import errno_name
from isotrace.decode.quote import escape
from isotrace.decode.sockaddr import endpoint
from isotrace.recording import captures, encode, schema
from isotrace.render import stacks
from isotrace.render.lines import Decoder
from isotrace.trace import events, plan
from isotrace.trace.captures import MADE_NONE, MADE_PAIR, MADE_RESULT, made_by
from isotrace.trace.events import BLOB
from isotrace.trace.whereabouts import unpacked, without

_ADDRESSED = {
    "sockaddr": events.PART_SELF,
    "outsockaddr": events.PART_SELF,
    "inmsg": events.PART_NAME,
    "outmsg": events.PART_NAME,
}
_WORDS = pa.dictionary(pa.int32(), pa.utf8())
_HEAD = BLOB.itemsize
_INT_MAX = 0x7FFFFFFF  # no number of a process is higher


@dataclass
class State:
    """What columns need from one batch to the next: of ``path`` and ``program`` the files of execves, by task."""

    host: str
    decoder: Decoder
    files: dict[int, bytes] = field(default_factory=dict)
    programs: dict[int, bytes] = field(default_factory=dict)

    @staticmethod
    def of(head: schema.Head) -> State:
        """At the beginning of a recording."""
        return State(head.host, Decoder(plan.all_calls()))


@dataclass(frozen=True)
class Column:
    """A friendly column: its type, the recording's columns that it is made of, and how."""

    type: pa.DataType
    needs: tuple[str, ...]
    make: Callable[[pa.RecordBatch, State], pa.Array]


# ---- text ---------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=65536)
def readable(data: bytes) -> str:
    """Bytes as text for any terminal: UTF-8 where all of it is printable, otherwise escaped as strace does."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return escape(data)
    return text if text.isprintable() and "\\" not in text else escape(data)


def _texts(column: pa.Array, render: Callable[[bytes], str | None]) -> pa.DictionaryArray:
    """``render`` of each value, called once for each different one."""
    words = column.dictionary_encode()
    values = [None if raw is None else render(raw) for raw in words.dictionary.to_pylist()]
    distinct = pa.array(values, pa.utf8()).dictionary_encode()
    table = distinct.indices.fill_null(-1).to_numpy().astype(np.int32)
    index = words.indices
    if not len(table):
        return pa.nulls(len(column), _WORDS)
    found = table[index.fill_null(0).to_numpy()]
    absent = (found < 0) | index.is_null().to_numpy(zero_copy_only=False)
    return pa.DictionaryArray.from_arrays(pa.array(found, mask=absent), distinct.dictionary)


def _comm(rows: pa.RecordBatch, state: State) -> pa.Array:
    del state
    return _texts(
        rows.column("comm"), lambda raw: readable(raw.partition(b"\0")[0])
    )  # behind it may be a former name's end


def _error(rows: pa.RecordBatch, state: State) -> pa.Array:
    del state
    numbers = rows.column("errno")
    names = _errnos()
    known = numbers.to_numpy().clip(max=len(names) - 1).astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(known, mask=known == 0), names)


@cache
def _errnos() -> pa.StringArray:
    """Their names by number."""
    return pa.array([errno_name(number) for number in range(1 << 12)], pa.utf8())


def _name(rows: pa.RecordBatch, state: State) -> pa.Array:
    """The call, by number where it has no name."""
    del state
    names = rows.column("name").cast(_WORDS)
    nameless = np.flatnonzero(rows.column("slot").to_numpy() % events.SLOT_I386 == events.SLOT_UNKNOWN)
    if not len(nameless):
        return names
    texts, numbers = names.to_pylist(), rows.column("number").to_numpy()
    for index in nameless.tolist():
        texts[index] = f"syscall_{int(numbers[index]):#x}"
    return pa.array(texts, pa.utf8()).dictionary_encode()


# ---- what is in captured memory -----------------------------------------------------------------------------------------


def _captured(rows: pa.RecordBatch, wanted: npt.NDArray[np.uint16], heads_too: bool = False) -> pa.BinaryArray:
    """The bytes of one capture a row: the first of the argument and part ``wanted[slot]``; null where there is none."""
    memory = rows.column("memory")
    which = wanted[rows.column("slot").to_numpy()]
    at, count = encode.offsets(memory)[:-1], rows.column("captures").to_numpy()
    return captures.pick(memory.buffers()[2], at, count, which, heads_too)


def places_in(choose: Callable[[Syscall], tuple[int, int] | None]) -> npt.NDArray[np.uint16]:
    """Slot → the argument and the part of it that ``choose`` names."""
    found = np.full(events.SLOTS, captures.NOWHERE, dtype=np.uint16)
    for slot, call in plan.all_calls().items():
        if (place := choose(call)) is not None:
            found[slot] = captures.place(*place)
    return found


def _nth_path(number: int) -> Callable[[Syscall], tuple[int, int] | None]:
    def choose(call: Syscall) -> tuple[int, int] | None:
        places = [index for index, arg in enumerate(call.args) if arg.kind == "path"]
        return (places[number], events.PART_SELF) if len(places) > number else None

    return choose


def _address_of(call: Syscall) -> tuple[int, int] | None:
    found = ((index, _ADDRESSED[arg.kind]) for index, arg in enumerate(call.args) if arg.kind in _ADDRESSED)
    return next(found, None)


@cache
def _paths(number: int) -> npt.NDArray[np.uint16]:
    return places_in(_nth_path(number))


@cache
def _addresses() -> npt.NDArray[np.uint16]:
    return places_in(_address_of)


def _path(rows: pa.RecordBatch, state: State) -> pa.Array:
    """The first path; of an execve that succeeded the file that was run, which an earlier row has."""
    found = _captured(rows, _paths(0))
    if programs := file_of_exec(rows, state.files):
        values = found.to_pylist()
        for index, file in programs.items():
            values[index] = file
        found = pa.array(values, pa.binary())
    return _texts(found, lambda raw: readable(raw.rstrip(b"\0")))


def _program(rows: pa.RecordBatch, state: State) -> pa.Array:
    """Of an execve that succeeded the file that was run."""
    values: list[str | None] = [None] * rows.num_rows
    for index, file in file_of_exec(rows, state.programs).items():
        values[index] = readable(file)
    return pa.array(values, pa.utf8()).dictionary_encode() if any(values) else pa.nulls(rows.num_rows, _WORDS)


def file_of_exec(rows: pa.RecordBatch, files: dict[int, bytes]) -> dict[int, bytes]:
    """Row of an execve that succeeded → its file. ``files`` are those that were named and not yet run, by task."""
    kinds, found = encode.kinds(rows), {}
    execs = (kinds == events.CALL) & plan.execs()[rows.column("slot").to_numpy()]
    tasks, results = rows.column("arg5").to_numpy(), rows.column("result").to_numpy()
    for index in np.flatnonzero((kinds == events.EXEC_NAME) | execs).tolist():
        task = int(tasks[index])
        if kinds[index] == events.EXEC_NAME:
            files[task] = without(rows.column("memory")[index].as_py())[_HEAD:].rstrip(b"\0")
        elif (file := files.pop(task, None)) is not None and results[index] == 0:
            found[index] = file
    return found


def _other_path(rows: pa.RecordBatch, state: State) -> pa.Array:
    del state
    return _texts(_captured(rows, _paths(1)), lambda raw: readable(raw.rstrip(b"\0")))


def _address(rows: pa.RecordBatch, state: State) -> pa.Array:
    del state
    return _texts(_captured(rows, _addresses()), _endpoint)


def _endpoint(raw: bytes) -> str | None:
    return endpoint(raw, readable) or None


@cache
def _files(made: bool) -> npt.NDArray[np.uint16]:
    """Slot → where what the first argument is lies, if that is a descriptor, or what the call has made is."""
    if made:
        return places_in(_made_by)
    return places_in(lambda call: (0, events.PART_FILE) if call.args and call.args[0].kind in ("fd", "dirfd") else None)


def _made_by(call: Syscall) -> tuple[int, int] | None:
    made = made_by(call)
    if made == MADE_NONE:
        return None
    return (events.RESULT_ARG if made == MADE_RESULT else made - MADE_PAIR, events.PART_FILE)


def _file(rows: pa.RecordBatch, state: State) -> pa.Array:
    """What the descriptor ``fd`` is, where that was recorded; "" where it was none."""
    del state
    return _texts(_captured(rows, _files(False)), lambda raw: described(raw, readable))


def _made(rows: pa.RecordBatch, state: State) -> pa.Array:
    """The same of the descriptor that the call has made, or the first of two."""
    del state
    return _texts(_captured(rows, _files(True)), lambda raw: described(raw, readable))


def _stack(rows: pa.RecordBatch, state: State) -> pa.Array:
    """The functions of the user stack, as ``log --format folded`` has them."""
    del state
    places = np.full(events.SLOTS, captures.place(events.STACK_ARG, events.PART_FRAMES), dtype=np.uint16)
    return _texts(_captured(rows, places, heads_too=True), _folded)


def _folded(raw: bytes) -> str:
    head = np.frombuffer(raw, BLOB, 1)[0]
    arg, part, state, full = (int(head[name]) for name in ("arg", "part", "state", "full"))
    return stacks.folded([events.Blob(arg, part, state, full, raw[_HEAD:])])


def _whereabouts(rows: pa.RecordBatch) -> pa.BinaryArray:
    places = np.full(events.SLOTS, captures.place(events.TASK_ARG, events.PART_WHEREABOUTS), dtype=np.uint16)
    return _captured(rows, places, heads_too=True)


def _container(rows: pa.RecordBatch, state: State) -> pa.Array:
    """The name of the container that the process was in, where that was recorded; "" in none, null if unknown."""
    del state

    def name(raw: bytes) -> str | None:
        found = unpacked(raw).container
        return None if found is None else readable(found.encode(errors="surrogateescape"))

    return _texts(_whereabouts(rows), name)


def _pid_inside(rows: pa.RecordBatch, state: State) -> pa.Array:
    """The number that the process has in the pid namespace below isotrace's, where that was recorded."""
    del state
    found = _whereabouts(rows).dictionary_encode()
    numbers = np.array([unpacked(raw).pid & _INT_MAX for raw in found.dictionary.to_pylist()], dtype=np.int32)
    told = found.indices.is_valid().to_numpy(zero_copy_only=False)
    own = rows.column("pid").to_numpy().astype(np.int32)
    if not len(numbers):
        return pa.nulls(rows.num_rows, pa.int32())
    inside = numbers[found.indices.fill_null(0).to_numpy()]
    return pa.array(np.where(inside, inside, own), mask=~told)


def _what(rows: pa.RecordBatch, state: State) -> pa.Array:
    """Of a refusal, the path or address."""
    del state
    refused = encode.kinds(rows) == events.REFUSED
    found = _captured(rows, np.zeros(events.SLOTS, dtype=np.uint16))
    hidden = pa.array(np.where(refused, np.arange(len(rows)), 0), mask=~refused)
    return _texts(found.take(hidden), lambda raw: readable(raw.rstrip(b"\0")) or None)


# ---- numbers and lines --------------------------------------------------------------------------------------------------


@cache
def _descriptors() -> npt.NDArray[np.bool_]:
    """Slots of calls whose first argument is a descriptor."""
    return plan.slots(lambda call: bool(call.args) and call.args[0].kind in ("fd", "dirfd"))


def _fd(rows: pa.RecordBatch, state: State) -> pa.Array:
    del state
    has = _descriptors()[rows.column("slot").to_numpy()]
    return pa.array(rows.column("arg0").to_numpy().astype(np.uint32).view(np.int32), mask=~has)


@cache
def _sized() -> npt.NDArray[np.bool_]:
    """Slots of calls that return how many bytes they moved."""
    return plan.slots(lambda call: call.ret == "size")


def _bytes(rows: pa.RecordBatch, state: State) -> pa.Array:
    del state
    results = rows.column("result").to_numpy()
    has = _sized()[rows.column("slot").to_numpy()] & (results >= 0)
    return pa.array(results, mask=~has)


def _duration(rows: pa.RecordBatch, state: State) -> pa.Array:
    del state
    spent = rows.column("duration").to_numpy()
    return pa.array(spent.view(np.int64), mask=spent == 0)


def _text(rows: pa.RecordBatch, state: State) -> pa.Array:
    """The call as the text format shows it, with its result."""
    found: list[str | None] = [None] * rows.num_rows
    position = np.flatnonzero(encode.kinds(rows) <= events.LOST)
    at = 0
    for batch in encode.batches_of(rows):
        for decoded in state.decoder.decode(batch):
            for index, text, result in zip(decoded.rows.index, decoded.texts(), decoded.results, strict=True):
                found[position[at + index]] = f"{text} = {result}"
        at += len(batch)
    return pa.array(found, pa.utf8())


def _note(rows: pa.RecordBatch, state: State) -> pa.Array:
    del state
    notes = rows.column("note")
    if notes.null_count == len(notes):
        return notes
    return pa.array([None if note is None else ascii_only(note) for note in notes.to_pylist()], pa.utf8())


def ascii_only(text: str) -> str:
    """What isotrace writes into a recording is plain ASCII; anything else is somebody else's."""
    return text if text.isascii() and text.isprintable() else escape(text.encode("utf-8", "surrogatepass"))


def _host(rows: pa.RecordBatch, state: State) -> pa.Array:
    zeros = pa.array(np.zeros(rows.num_rows, dtype=np.int32))
    return pa.DictionaryArray.from_arrays(zeros, pa.array([readable(state.host.encode())]))


def _as_is(name: str, kind: pa.DataType) -> Column:
    return Column(kind, (name,), lambda rows, state: rows.column(name).cast(kind))


_MEMORY = ("kind", "slot", "captures", "memory")
COLUMNS: Mapping[str, Column] = {
    "kind": _as_is("kind", pa.dictionary(pa.uint8(), pa.utf8())),
    "time": _as_is("time", pa.timestamp("ns")),
    "host": Column(_WORDS, ("kind",), _host),
    "pid": _as_is("pid", pa.int32()),
    "tid": _as_is("tid", pa.int32()),
    "ppid": _as_is("ppid", pa.int32()),
    "uid": _as_is("uid", pa.uint32()),
    "comm": Column(_WORDS, ("comm",), _comm),
    "container": Column(_WORDS, _MEMORY, _container),
    "pid_inside": Column(pa.int32(), (*_MEMORY, "pid"), _pid_inside),
    "abi": _as_is("abi", pa.dictionary(pa.uint8(), pa.utf8())),
    "number": _as_is("number", pa.uint32()),
    "name": Column(_WORDS, ("name", "slot", "number"), _name),
    "result": _as_is("result", pa.int64()),
    "error": Column(_WORDS, ("errno",), _error),
    "duration_ns": Column(pa.int64(), ("duration",), _duration),
    "fd": Column(pa.int32(), ("slot", "arg0"), _fd),
    "bytes": Column(pa.int64(), ("slot", "result"), _bytes),
    "path": Column(_WORDS, (*_MEMORY, "arg5", "result"), _path),
    "program": Column(_WORDS, (*_MEMORY, "arg5", "result"), _program),
    "path2": Column(_WORDS, _MEMORY, _other_path),
    "address": Column(_WORDS, _MEMORY, _address),
    "file": Column(_WORDS, _MEMORY, _file),
    "made": Column(_WORDS, _MEMORY, _made),
    "stack": Column(_WORDS, _MEMORY, _stack),
    "what": Column(_WORDS, _MEMORY, _what),
    "text": Column(pa.utf8(), tuple(schema.arrow().names), _text),
    **{f"arg{i}": _as_is(f"arg{i}", pa.uint64()) for i in range(schema.ARGS)},
    "note": Column(pa.utf8(), ("note",), _note),
}


def arrow() -> pa.Schema:
    """All friendly columns."""
    return pa.schema([(name, column.type) for name, column in COLUMNS.items()])


def needs(names: Iterable[str]) -> list[str]:
    """The recording's columns that these are made of."""
    wanted = {need for name in names for need in COLUMNS[name].needs}
    return [name for name in schema.arrow().names if name in wanted]


@lru_cache(maxsize=256)
def _nulls(count: int, kind: pa.DataType) -> pa.Array:
    """One array for all batches of a size: most of what is made is nothing."""
    return pa.nulls(count, kind)


def made(rows: pa.RecordBatch, names: Sequence[str], state: State, into: pa.Schema) -> pa.RecordBatch:
    """The friendly columns ``names``; the others of ``into`` are null."""
    columns = [
        COLUMNS[field.name].make(rows, state) if field.name in names else _nulls(rows.num_rows, field.type)
        for field in into
    ]
    return pa.RecordBatch.from_arrays(columns, schema=into)
