"""Records as lines: what the text sink prints and the JSON sink takes its values from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from isotrace.catalog.alternatives import chooser, result_arg
from isotrace.catalog.model import Arg, Syscall
from isotrace.catalog.rings import PREFIX
from isotrace.decode import packed, scalars, signals, style
from isotrace.decode.errnos import result_text
from isotrace.decode.quote import comm
from isotrace.decode.signals import sigset
from isotrace.decode.structs import STRUCTS
from isotrace.kernel.places import Places
from isotrace.render import execs
from isotrace.render.columns import LATER, OMITTED, Memo, Render, column_of, scalar
from isotrace.render.descriptors import Descriptors
from isotrace.render.hosts import Hosts
from isotrace.render.notes import NOTES
from isotrace.render.pids import Names, Pids, with_sender
from isotrace.render.resolved import Resolved
from isotrace.render.rings import UNKNOWN, Operations
from isotrace.render.rows import Column, ExecArguments, Rows
from isotrace.render.view import PLAIN, SHORT, How, View
from isotrace.trace import events, plan
from isotrace.trace.events import FAULT, PART_FILE, PART_PLACE, STACK_ARG, Batch, Blob
from isotrace.units import many

_EXECS = 16384  # execves that may be under way at once

#: Calls whose arguments strace shows in an order of its own and by name.
LABELS: dict[str, dict[str, str]] = {
    "clone": {
        "newsp": "child_stack=",
        "clone_flags": "flags=",
        "parent_tidptr": "parent_tid=",
        "tls": "tls=",
        "child_tidptr": "child_tidptr=",
    },
}


@dataclass(frozen=True)
class Decoded:
    """One group of records of one call: ``call`` is None for a number that the catalogue does not know.

    ``columns`` has a column of texts for each argument that is shown, ``results`` the text after the equals sign. ``raw``:
    the arguments are the registers, in their order.
    """

    rows: Rows
    name: list[str]
    call: Syscall | None
    args: list[Column]
    results: Column
    raw: bool = False

    def texts(self) -> list[str]:
        """``name(arg, arg, …)`` of each record."""
        columns = [column for _, column in self._ordered]
        if not columns:
            return [f"{name}()" for name in self.name]
        if len(columns) == 1:
            joined = [text if text != OMITTED else "" for text in columns[0]]
        else:
            joined = [", ".join(row) for row in zip(*columns, strict=True)]
            if any(OMITTED in text for text in joined):
                joined = [", ".join([t for t in row if t != OMITTED]) for row in zip(*columns, strict=True)]
        return [f"{name}({text})" for name, text in zip(self.name, joined, strict=True)]

    def shown(self, position: int) -> list[tuple[int, str]]:
        """What stands between the parentheses of the record at ``position``, each with the number of its argument."""
        found = [(number, column[position]) for number, column in self._ordered]
        return [(number, text) for number, text in found if text != OMITTED]

    @cached_property
    def _ordered(self) -> list[tuple[int, Column]]:
        """The columns in strace's order, each text behind its label, with the numbers of their arguments."""
        if not self.call or self.raw or self.call.name not in LABELS:
            return list(enumerate(self.args))
        numbers = {arg.name: number for number, arg in enumerate(self.call.args)}
        return [
            (number, [text if text == OMITTED else label + text for text in self.args[number]])
            for number, label in ((numbers[name], label) for name, label in LABELS[self.call.name].items())
        ]


def _result(value: int) -> str:
    return result_text(-value) if -4096 < value < 0 else str(value)


def _plain_result(render: Callable[[int], str]) -> Memo:
    return Memo(lambda value: result_text(-value) if -4096 < value < 0 else render(value))


#: Calls behind whose result constants are written as -X says; behind others they are in words always.
_STYLED = ("personality",)
_HEX = ("hex", "ptr")
_RETURNS = ("sigreturn", "rt_sigreturn")


def _restored_mask(rows: Rows) -> Column:
    """A return from a signal handler has no arguments: strace shows the mask in the frame that it restores."""
    return [
        OMITTED if blob is None or blob.state == FAULT else f"{{mask={sigset(int.from_bytes(blob.data, 'little'))}}}"
        for blob in rows.memory(0)
    ]


class CallDecoder:
    """Decodes records of one call; built once for each call that is met."""

    def __init__(
        self,
        call: Syscall,
        descriptors: int = 0,
        how: How = SHORT,
        names: Names | None = None,
        resolve: bool = False,
        places: Places | None = None,
    ) -> None:
        self.call, self._raw, self._full = call, how.raw, how.full
        self._resolved = Resolved(call) if resolve and not how.raw else None
        self._descriptors = Descriptors(call, descriptors) if descriptors and not how.raw else None
        self._hosts = Hosts(call, places) if places and not how.raw else None
        self._pids = Pids(call, names) if names and not how.raw else None
        self._columns: list[Render] = [column_of(call, index, arg, how) for index, arg in enumerate(call.args)]
        self._note = NOTES.get(call.name) if not how.raw else None
        self._operations = Operations(call) if call.name.startswith(PREFIX) else None
        self._result_memo = _plain_result(self._scalar_result())
        alternative = call.ret.startswith("alt(") and not how.raw
        self._result_column = column_of(call, 0, result_arg(call)) if alternative else None

    def _scalar_result(self) -> Callable[[int], str]:
        if self._raw:
            return lambda value: scalars.hexa(value & 0xFFFFFFFFFFFFFFFF)
        if self.call.ret == "mode":
            return scalars.octal
        if self.call.ret in _HEX:
            return lambda value: scalars.hexa(value & 0xFFFFFFFFFFFFFFFF)
        return str

    def __call__(self, rows: Rows) -> Decoded:
        args = [column(rows) for column in self._columns]
        if self.call.name in _RETURNS:
            args = [] if self._raw else [_restored_mask(rows)]
        results = self._results(rows)
        if self._descriptors:
            args, results = self._descriptors.beside(rows, args, results)
        if self._hosts:
            args, results = self._hosts.beside(rows, args, results)
        if self._pids:
            args, results = self._pids.beside(rows, args, results)
        if self._resolved:
            args = self._resolved.beside(rows, args)
        if any(later := rows.field("later")):
            args = [
                [text + LATER if mask >> i & 1 else text for text, mask in zip(column, later, strict=True)]
                for i, column in enumerate(args)
            ]
        if self._operations:
            args, results = self._operations.beside(rows, args, results)
        return Decoded(rows, [self.call.name] * len(rows), self.call, args, results, self._raw)

    def _results(self, rows: Rows) -> Column:
        if self.call.ret == "none" and self.call.name.startswith("exit"):
            return ["?"] * len(rows)
        memo = self._result_memo
        texts = [memo[value] for value in rows.results]
        if self._result_column:
            texts = self._alternative_results(rows, texts)
        return self._note(self.call, rows, texts, self._full) if self._note else texts

    def _alternative_results(self, rows: Rows, texts: Column) -> Column:
        """fcntl's result by its command: ``0x8002 (flags O_RDWR|O_LARGEFILE)``."""
        which = chooser(self.call, result_arg(self.call))
        found = []
        chosen = which.each(rows.registers)
        for arg, value, text, failed in zip(chosen, rows.results, texts, rows.failed, strict=True):
            found.append(text if failed else _named_result(arg, value, text, self.call.name))
        return found


def _named_result(arg: Arg, value: int, text: str, call: str) -> str:
    """``1 (SCHED_FIFO)``, ``0x8 (PER_LINUX32)``; fcntl says what its bits are: ``0x8002 (flags O_RDWR|O_LARGEFILE)``."""
    if arg.kind == "ioprio":
        return text if style.raw() else f"{scalars.hexa(value)} ({packed.priority(value)})"
    render = scalar(arg) if arg.kind in ("flags", "enum", "signal") else None
    if render is None or (arg.kind == "signal" and not value):
        return text
    of_fcntl = call.startswith("fcntl")
    with nullcontext() if call in _STYLED else style.names():
        name = render(value)
    if arg.kind == "flags":
        return "0" if name == "0" and call not in _STYLED else f"{scalars.hexa(value)} ({'flags ' * of_fcntl}{name})"
    number = scalars.hexa(value) if of_fcntl else str(value)
    return f"{value} ({name})" if arg.kind == "signal" else f"{number} ({name})"


def _unknown(rows: Rows) -> Decoded:
    """Calls without a name: strace's ``syscall_0x1c8(0x1, …)``."""
    width = [64 if abi != events.I386 else 32 for abi in rows.field("abi")]
    numbers = [
        number - (1 << 32) & 0xFFFFFFFFFFFFFFFF if number == 0xFFFFFFFF and bits == 64 else number
        for number, bits in zip(rows.field("number"), width, strict=True)
    ]
    args = [[f"{value:#x}" if value else "0" for value in rows.arg(i)] for i in range(6)]
    return Decoded(rows, [f"syscall_{number:#x}" for number in numbers], None, args, [_result(r) for r in rows.results])


@dataclass
class _Exec:
    """What is known of an execve that has not returned: how and when it began; the file, and the time that came with it."""

    enter: tuple[tuple[int, ...], tuple[Blob, ...]] | None = None
    began: int = 0
    file: Blob | None = None
    script: bool = False
    stamp: int = 0

    def of(self, stamp: int) -> _Exec:
        """As much of it as belongs to the execve that began at ``stamp``; 0, as of the kernel module, leaves all of it."""
        if not stamp:
            return self
        named = self.stamp == stamp
        enter = self.enter if self.began == stamp else None
        return _Exec(enter, stamp, self.file if named else None, self.script and named, stamp)


@dataclass
class Decoder:
    """Decodes batches in the order in which they came; keeps what an execve needs from one record to the next.

    ``descriptors``: say what they are, 1 as strace -y does, 2 as -yy. ``view``: how arguments are shown.
    ``pids``: with the names of processes. ``resolve``: say which paths relative ones are.
    ``places``: and where files are for isotrace.
    """

    calls: Mapping[int, Syscall]
    descriptors: int = 0
    view: View = PLAIN
    pids: bool = False
    resolve: bool = False
    places: Places | None = None
    _names: Names = field(default_factory=Names)
    _batch: Batch | None = None
    _execs: dict[tuple[int, int], _Exec] = field(default_factory=dict)
    _decoders: dict[int, CallDecoder] = field(default_factory=dict)

    @property
    def alike(self) -> bool:
        """Whether equal records have equal texts, whenever they came and whoever made them."""
        return not (self.pids or self.places)

    def decode(self, batch: Batch, among: npt.NDArray[np.bool_] | None = None) -> Iterator[Decoded]:
        """The calls of a batch, group by group: of one system call, that have ended all or none.

        Only those in ``among``, a mask of records, where it is given: every batch is still to be decoded, in order.
        """
        self._begin(batch)
        if self.places:
            self.places.look()
        joined = self._join(batch)
        kinds = batch.events["kind"]
        wanted = (kinds == events.CALL) | (kinds == events.UNFINISHED)
        if among is not None:
            wanted &= among
        index = np.flatnonzero(wanted)
        slots = batch.events["slot"][index]
        keys = 2 * slots.astype(np.int64) + (kinds[index] == events.UNFINISHED)
        order = np.argsort(keys, kind="stable")
        bounds = np.flatnonzero(np.diff(keys[order])) + 1
        for group in np.split(order, bounds):
            if len(group):
                yield self._group(int(slots[group[0]]), Rows(batch, index[group].tolist(), joined))

    def notices(self, batch: Batch) -> Iterator[tuple[int, str]]:
        """(index, text) of the records of a batch that are no calls."""
        self._begin(batch)
        for index, text in notices(batch, self.calls):
            signal = self.pids and batch.events["kind"][index] == events.SIGNAL
            yield index, with_sender(text, batch, index, self._names) if signal else text

    def who(self, batch: Batch, index: int) -> str:
        """What to write behind the number of a record's thread, as it was when the call began: ``<bash>``, or nothing."""
        if not self.pids:
            return ""
        self._begin(batch)
        row = batch.events[index]
        execve = row["kind"] == events.CALL and row["slot"] in self._exec_slots and not row["result"]
        return f"<{self._names.began(index, int(row['tid'])) if execve else comm(bytes(row['comm']))}>"

    def _begin(self, batch: Batch) -> None:
        if self.pids and batch is not self._batch:
            self._batch = batch
            self._names.take(batch)

    def _group(self, slot: int, rows: Rows) -> Decoded:
        decoder = self._decoders.get(slot)
        if decoder is None:
            call = self.calls.get(slot)
            if call is None:
                return _unknown(rows)
            decoder = self._decoders[slot] = CallDecoder(
                call,
                self.descriptors,
                self.view.of(call),
                self._names if self.pids else None,
                self.resolve,
                self.places,
            )
        return _half_known(decoder(rows))

    # ---- execve: three records, one call -------------------------------------------------------------------------

    def _join(self, batch: Batch) -> dict[int, ExecArguments]:
        found: dict[int, ExecArguments] = {}
        kinds, slots = batch.events["kind"], batch.events["slot"]
        for index in np.flatnonzero(self._concerns_exec(kinds, slots)).tolist():
            kind, registers = int(kinds[index]), batch.events["args"][index].tolist()
            key, blobs = (registers[5], int(batch.events["pid"][index])), tuple(batch.blobs(index))
            if kind == events.EXEC_ENTER:
                self._forget()
                self._execs[key] = _Exec((tuple(registers), blobs), int(batch.events["time"][index]))
            elif kind == events.EXEC_NAME:
                named = self._execs.setdefault(key, _Exec())
                named.file, named.stamp = blobs[0] if blobs else None, registers[0]
                named.script = bool(batch.events["result"][index])
            else:
                started = self._execs.pop(key, None)
                if batch.events["result"][index]:
                    continue
                is_at = self.calls[int(slots[index])].name == "execveat"
                found[index] = _joined((started or _Exec()).of(registers[0]), tuple(registers), blobs, is_at)
        return found

    def _forget(self) -> None:
        """Drop the oldest of those whose end had no record: who left the target by its execve, say."""
        while len(self._execs) >= _EXECS:
            self._execs.pop(next(iter(self._execs)))

    def _concerns_exec(self, kinds: npt.NDArray[np.uint8], slots: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
        calls = (kinds == events.CALL) & np.isin(slots, self._exec_slots)
        found: npt.NDArray[np.bool_] = calls | (kinds == events.EXEC_ENTER) | (kinds == events.EXEC_NAME)
        return found

    @cached_property
    def _exec_slots(self) -> list[int]:
        return [slot for slot, call in self.calls.items() if call.name in plan.EXECS]


def _joined(started: _Exec, registers: tuple[int, ...], after: tuple[Blob, ...], is_at: bool) -> ExecArguments:
    """The arguments as they were given; a page that was not resident then is replaced by what the new program got."""
    path_arg = 1 if is_at else 0
    if started.enter is None:
        file = started.file._replace(arg=path_arg) if started.file else None
        strings = frozenset(blob.arg for blob in after if blob.arg == path_arg + 1)
        return ExecArguments(
            (1,) * 6, ((file,) if file else ()) + after, strings | ({path_arg} if file else frozenset())
        )
    before = started.enter[1]
    path = [blob for blob in before if blob.arg == path_arg]
    if path and path[0].state == FAULT and started.file:
        path = [started.file._replace(arg=path_arg)]
    old, new = ([[b for b in blobs if b.arg == path_arg + n] for n in (1, 2)] for blobs in (before, after))
    argv = execs.argv_given(old[0], new[0], started.script)
    files = [blob for blob in before if blob.part in (PART_FILE, PART_PLACE) or blob.arg == STACK_ARG]
    return ExecArguments(started.enter[0], (*path, *argv, *execs.environment_given(old[1], new[1]), *files))


def _half_known(decoded: Decoded) -> Decoded:
    """The same, with UNKNOWN for what is not known of an execve whose beginning has no record."""
    if not (found := decoded.rows.half_known()):
        return decoded
    args = [column.copy() for column in decoded.args]
    for position, known in found.items():
        for number, column in enumerate(args):
            if decoded.raw or number not in known:
                column[position] = UNKNOWN
    return replace(decoded, args=args)


def killed_or_exited(status: int) -> str:
    """A thread's end from its wait status, as strace words it."""
    number = status & 0x7F
    if not number:
        return f"+++ exited with {status >> 8 & 0xFF} +++"
    return f"+++ killed by {signals.name(number)}{' (core dumped)' if status & 0x80 else ''} +++"


def delivered(number: int, info: Blob | None) -> str:
    """A signal that arrives, as strace words it."""
    if info is None or info.state == FAULT:
        return f"--- {signals.name(number)} ---"
    siginfo = STRUCTS["siginfo"]
    return f"--- {signals.name(number)} {siginfo.decode(info.data.ljust(siginfo.size, bytes(1)))} ---"


def notices(batch: Batch, calls: Mapping[int, Syscall]) -> Iterator[tuple[int, str]]:
    """(index, text) of the records that are no calls: exits, signals, losses."""
    kinds = batch.events["kind"]
    wanted = (kinds == events.TASK_EXIT) | (kinds == events.SIGNAL) | (kinds == events.LOST)
    for index in np.flatnonzero(wanted).tolist():
        result = int(batch.events["result"][index])
        if kinds[index] == events.TASK_EXIT:
            taker = int(batch.events["args"][index][0])
            yield index, f"+++ superseded by execve in pid {taker} +++" if taker else killed_or_exited(result)
        elif kinds[index] == events.SIGNAL:
            yield index, delivered(result, next(iter(batch.blobs(index)), None))
        else:
            call = calls.get(int(batch.events["slot"][index]))
            yield index, f"*** {many(result, f'{call.name} call' if call else 'unknown call')} lost here ***"
