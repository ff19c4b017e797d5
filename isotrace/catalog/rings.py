"""The operations of io_uring: rows like calls, named ``io_uring:openat``, which a process asks for without such a call.

``rings.txt`` says what their arguments are and where the kernel has them: in the submission queue's entry, which is memory
that the kernel shares with the process, and on most kernels in its own request.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from isotrace.catalog.load import parse_kind
from isotrace.catalog.model import Syscall
from isotrace.kernel.rings import Place

PREFIX = "io_uring:"
FAMILY = "%io_uring"
#: io_uring_enter, on every ABI: what the operations have for a number.
NUMBER = 426
#: What is not in the table, or of which it is not known what it is.
UNKNOWN = Syscall(PREFIX + "unknown", "x86_64", NUMBER, (), families=frozenset((FAMILY,)))

#: Members of struct io_uring_sqe (include/uapi/linux/io_uring.h): offset and size in bytes.
ENTRY = {
    **{"fd": (4, 4), "off": (8, 8), "cmd_op": (8, 4), "addr": (16, 8), "len": (24, 4), "op_flags": (28, 4)},
    **{"buf_index": (40, 2), "file_index": (44, 4), "addr_len": (44, 2), "addr3": (48, 8)},
}
_ACTS = {"send": "sendto", "send_zc": "sendto", "sendmsg_zc": "sendmsg"}
_SHORT = {"fd": "fd:fd=fd|io_kiocb.cqe+io_cqe.fd"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; ``places`` has one for each argument of ``call``."""

    opcode: int
    call: Syscall
    places: tuple[Place, ...]


@cache
def operations() -> dict[int, Operation]:
    """All that are known, by opcode."""
    lines = (Path(__file__).parent / "rings.txt").read_text(encoding="ascii").splitlines()
    found = (_operation(line) for line in lines if line and line[0] != "#")
    return {one.opcode: one for one in found}


@cache
def by_name() -> dict[str, Syscall]:
    """They and the unknown ones, by name."""
    return {one.call.name: one.call for one in operations().values()} | {UNKNOWN.name: UNKNOWN}


@cache
def names() -> frozenset[str]:
    """Their names, and that of the unknown ones."""
    return frozenset(by_name())


def act(name: str) -> str:
    """The call that does what an operation does to files and sockets; of a call its own name."""
    base = name.removeprefix(PREFIX)
    return name if base == name else _ACTS.get(base, base)


def _operation(line: str) -> Operation:
    words, _, result = line.partition("->")
    opcode, name, *fields = words.split()
    args, places = [], []
    for field in fields:
        declared, _, where = _SHORT.get(field, field).partition("=")
        args.append(parse_kind(*declared.split(":", 1)))
        places.append(_place(where.split("|")))
    families = frozenset((FAMILY,))
    call = Syscall(PREFIX + name, "x86_64", NUMBER, tuple(args), result.strip() or "int", families)
    return Operation(int(opcode), call, tuple(places))


def _place(words: list[str]) -> Place:
    entry, *others = words
    members = [tuple(_member(one) for one in word.split("+")) for word in others if ":" not in word]
    names = [_member(word.removeprefix("name:")) for word in others if ":" in word]
    return Place(ENTRY.get(entry), tuple(members), tuple(names))


def _member(text: str) -> tuple[str, str]:
    struct, _, member = text.partition(".")
    return struct, member
