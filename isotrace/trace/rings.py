"""Operations of io_uring as slots, and what the kernel programs have to know of each. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache

from isotrace.catalog import rings
from isotrace.catalog.model import Syscall
from isotrace.kernel.rings import Field, Layout, Place
from isotrace.trace import events
from isotrace.trace.captures import Capture, captures_of

_FIELD = struct.Struct("<QQHHHBx")
_FIELDS, _TAIL = 8, 8  # of struct ring_operation
#: Bytes of a path, and of another string: what a request is kept with until it completes has no room for more.
PATH_LIMIT, STRING_LIMIT = 895, 255
_UNKNOWN = events.SLOT_RING + events.RING_OPERATIONS


@dataclass(frozen=True)
class Watched:
    """An operation that is asked for: ``struct ring_operation``, and what to copy of memory."""

    packed: bytes
    captures: tuple[Capture, ...] = ()


@cache
def calls() -> dict[int, Syscall]:
    """The operations by slot."""
    found = {events.SLOT_RING + opcode: one.call for opcode, one in rings.operations().items()}
    return found | {_UNKNOWN: rings.UNKNOWN}


def places() -> dict[int, tuple[Place, ...]]:
    """Where the arguments of operations may be, by opcode."""
    return {opcode: one.places for opcode, one in rings.operations().items()}


def selected(asked: frozenset[str] | None) -> list[int]:
    """The slots of the operations that a call expression selects: none where every call is asked for (None)."""
    return [] if asked is None else [slot for slot, call in calls().items() if call.among(asked)]


def watched(asked: frozenset[str] | None, layout: Layout, string_limit: int) -> dict[int, Watched]:
    """What the programs need of each operation asked for, by opcode; those without a name are RING_OPERATIONS."""
    found = {}
    for slot in selected(asked):
        opcode = slot - events.SLOT_RING
        call, fields = calls()[slot], layout.fields.get(opcode, ())
        found[opcode] = Watched(_pack(fields), _limited(call, string_limit))
    return found


def _limited(call: Syscall, string_limit: int) -> tuple[Capture, ...]:
    paths = {index for index, arg in enumerate(call.args) if arg.kind == "path"}
    return tuple(
        row._replace(limit=min(row.limit, PATH_LIMIT if row.arg in paths else STRING_LIMIT))
        for row in captures_of(call, string_limit)
    )


def _pack(fields: tuple[Field, ...]) -> bytes:
    rows = (_FIELD.pack(_mask(one.entry), _mask(one.request), *_places(one), one.name is not None) for one in fields)
    return b"".join(rows).ljust(_FIELDS * _FIELD.size, b"\0") + b"\1".ljust(_TAIL, b"\0")


def _mask(place: tuple[int, int] | None) -> int:
    return (1 << 8 * place[1]) - 1 if place else 0


def _places(one: Field) -> tuple[int, int, int]:
    return one.entry[0] if one.entry else 0, one.request[0] if one.request else 0, one.name or 0


def constants(layout: Layout, preemptible: bool) -> list[str]:
    """The ``-D`` constants of bpf/rings.h."""
    arguments = layout.in_trace_events if preemptible else layout.arguments
    known = {"RINGS_KNOWN": len(rings.operations()), **arguments, **layout.offsets}
    return ["RINGS", *(f"{name}={value}" for name, value in known.items())]
