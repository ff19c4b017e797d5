"""How this kernel tells of io_uring: its tracepoints, their arguments, and where requests have what, all from BTF.

The tracepoints differ from kernel to kernel: io_uring_submit_sqe became io_uring_submit_req, arguments came and went. What
is looked for is each argument by its name; where one is missing that nothing can be without, the kernel does not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from isotrace.kernel.btf import Btf

#: Of bpf/rings.h: those that a layout can name.
PROGRAMS = ("on_ring_submit", "on_ring_complete", "on_ring_failed", "on_ring_overflow")

_SUBMITTED = ("io_uring_submit_req", "io_uring_submit_sqe")
_COMPLETED, _FAILED, _OVERFLOWN = "io_uring_complete", "io_uring_req_failed", "io_uring_cqe_overflow"

# constant → members of which a kernel has one; a member of a member is a path of two.
_REQUEST = {
    "OFF_REQUEST_RING": ((("io_kiocb", "ctx"),),),
    "OFF_REQUEST_OPCODE": ((("io_kiocb", "opcode"),),),
    "OFF_REQUEST_FLAGS": ((("io_kiocb", "flags"),),),
    "OFF_REQUEST_USER_DATA": ((("io_kiocb", "cqe"), ("io_cqe", "user_data")), (("io_kiocb", "user_data"),)),
    "OFF_RING_SETUP": ((("io_ring_ctx", "flags"),),),
    "OFF_RING_ENTRIES": ((("io_ring_ctx", "sq_sqes"),),),
    "OFF_RING_ARRAY": ((("io_ring_ctx", "sq_array"),),),
    "OFF_RING_HEAD": ((("io_ring_ctx", "cached_sq_head"),),),
    "OFF_RING_COUNT": ((("io_ring_ctx", "sq_entries"),),),
}
_OPTIONAL = {
    "OFF_REQUEST_RESULT": ((("io_kiocb", "cqe"), ("io_cqe", "res")),),
}
# Who asked: by the request's context since 6.13, or at once.
_ASKER = (
    {"OFF_REQUEST_CONTEXT": ("io_kiocb", "tctx"), "OFF_CONTEXT_TASK": ("io_uring_task", "task")},
    {"OFF_REQUEST_TASK": ("io_kiocb", "task")},
)
# Without io_uring_req_failed, requests of a chain are submitted that could not be made, with this flag.
_UNMADE = "REQ_F_FAIL_BIT"
# constant → what an argument of io_uring_complete is called
_COMPLETION = {"USER_DATA": "user_data", "RESULT": "res", "FLAGS": "cflags", "ENTRY": "cqe", "REQUEST": "req"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an argument may be: in the submission queue's ``entry`` (offset, size; None: not there), in the request by the
    first of the ``members`` that there is.

    A member is a path of (struct, member). ``names`` are members that point to the kernel's own copy of a path.
    """

    entry: tuple[int, int] | None
    members: tuple[tuple[tuple[str, str], ...], ...]
    names: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Field:
    """Where an argument is: offset and size in the submission queue's entry and in the request, None where it is not.

    ``name``: of a path, where in the request the pointer to ``struct filename`` is.
    """

    entry: tuple[int, int] | None = None
    request: tuple[int, int] | None = None
    name: int | None = None


@dataclass(frozen=True)
class Layout:
    """What the programs of bpf/rings.h need to know of this kernel.

    ``tracepoints`` → program: submitted, completed, and where there are, failed and overflown. ``arguments`` are constants
    for raw tracepoints, ``in_trace_events`` the same for trace events.
    """

    tracepoints: Mapping[str, str]
    arguments: Mapping[str, int]
    in_trace_events: Mapping[str, int]
    offsets: Mapping[str, int]
    fields: Mapping[int, tuple[Field, ...]] = field(default_factory=dict)


class Untold(LookupError):
    """This kernel does not tell of io_uring's operations; the message says what it lacks."""


def layout(types: Btf, places: Mapping[int, Sequence[Place]]) -> Layout:
    """How the kernel of this BTF tells of them. ``places``: of operations' arguments, by opcode. Raises ``Untold``."""
    submitted = next((name for name in _SUBMITTED if "req" in _parameters(types, name)), None)
    if submitted is None or not _parameters(types, _COMPLETED):
        raise Untold("it has no tracepoint that tells of a request of io_uring's")
    offsets = {name: _first(types, paths) for name, paths in _REQUEST.items()}
    if missing := next((name for name, found in offsets.items() if found is None), None):
        raise Untold(f"its BTF does not describe {'.'.join(_REQUEST[missing][0][-1])}")
    offsets |= {name: found for name, paths in _OPTIONAL.items() if (found := _first(types, paths)) is not None}
    for group in _ASKER:
        with suppress(KeyError):
            offsets |= {name: types.offset(*path) for name, path in group.items()}
            break
    else:
        raise Untold("its BTF does not describe whose a request of io_uring's is")
    points = {submitted: "on_ring_submit", _COMPLETED: "on_ring_complete"}
    wanted = {"SUBMITTED_REQUEST": (submitted, "req"), "COMPLETED_RING": (_COMPLETED, "ctx")}
    wanted |= {f"COMPLETED_{name}": (_COMPLETED, argument) for name, argument in _COMPLETION.items()}
    if {"sqe", "req"} <= _parameters(types, _FAILED).keys():
        points[_FAILED] = "on_ring_failed"
        words = {"ENTRY": "sqe", "REQUEST": "req", "OPCODE": "opcode"}
        wanted |= {f"FAILED_{name}": (_FAILED, argument) for name, argument in words.items()}
    else:
        offsets["UNMADE_FLAG"] = 1 << _enumerator(types, _UNMADE)
    if {"ctx", "user_data", "res", "cflags"} <= _parameters(types, _OVERFLOWN).keys():
        points[_OVERFLOWN] = "on_ring_overflow"
        words = {"RING": "ctx", "USER_DATA": "user_data", "RESULT": "res", "FLAGS": "cflags"}
        wanted |= {f"OVERFLOWN_{name}": (_OVERFLOWN, argument) for name, argument in words.items()}
    arguments = _arguments(types, wanted, _parameters)
    if "COMPLETED_ENTRY" not in arguments and not {"COMPLETED_USER_DATA", "COMPLETED_RESULT"} <= arguments.keys():
        raise Untold(f"its {_COMPLETED} does not say what has completed")
    return Layout(
        points,
        arguments,
        _arguments(types, wanted, _members),
        {name: at for name, at in offsets.items() if at is not None},
        {opcode: tuple(_field(types, place) for place in found) for opcode, found in places.items()},
    )


def _parameters(types: Btf, tracepoint: str) -> dict[str, int]:
    """The arguments of a tracepoint, by name: their numbers. None where there is no such tracepoint."""
    for prefix in ("__bpf_trace_", "__traceiter_"):
        with suppress(KeyError):
            names = types.parameter_names(prefix + tracepoint)
            return {name: number for number, name in enumerate(names[1:])}
    return {}


def _enumerator(types: Btf, name: str) -> int:
    try:
        return types.enumerator(name)
    except KeyError:
        raise Untold(f"its BTF does not describe {name}") from None


def _members(types: Btf, tracepoint: str) -> dict[str, int]:
    """The members of its trace event, by name: their offsets."""
    found = {}
    for name in ("ctx", "req", "sqe", "user_data", "res", "cflags", "opcode"):
        with suppress(KeyError):
            found[name] = types.offset(f"trace_event_raw_{tracepoint}", name)
    return found


def _arguments(
    types: Btf, wanted: Mapping[str, tuple[str, str]], look: Callable[[Btf, str], dict[str, int]]
) -> dict[str, int]:
    """Constant → where the argument is that it stands for, of those that there are."""
    found = {}
    for name, (tracepoint, argument) in wanted.items():
        if (at := look(types, tracepoint).get(argument)) is not None:
            found[name] = at
    return found


def _first(types: Btf, paths: tuple[tuple[tuple[str, str], ...], ...]) -> int | None:
    """The offset of the first of these members that there is."""
    for path in paths:
        with suppress(KeyError):
            return sum(types.offset(*one) for one in path)
    return None


def _field(types: Btf, place: Place) -> Field:
    name = _name(types, place)
    for path in place.members:
        with suppress(KeyError):
            return Field(place.entry, (sum(types.offset(*one) for one in path), types.size(*path[-1])), name)
    return Field(place.entry, None, name)


def _name(types: Btf, place: Place) -> int | None:
    """Where the kernel's own copy of a path is: where the member points to another struct than is known here, nowhere."""
    for struct, member in place.names:
        with suppress(KeyError):
            if types.struct_of(struct, member) in ("filename", "delayed_filename"):
                return types.offset(struct, member)
    return None
