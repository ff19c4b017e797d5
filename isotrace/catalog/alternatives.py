"""Arguments whose meaning depends on another one: fcntl's third on its command, openat's mode on its flags.

``chooser(call, arg)`` turns the row of alternatives.txt into tests on register values. A renderer asks it per
record; a planner walks its ``cases`` to see which memory may have to be read, and when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from isotrace.catalog.load import by_name, parse_kind
from isotrace.catalog.model import ABIS, Arg, Syscall

#: Finds the value of a constant: ``lookup("fcntlcmds", "F_GETLK") == 5``, or None when the set lacks it.
Lookup = Callable[[str, str], int | None]

# Sets that a kind uses without naming them.
_IMPLIED = {
    "cloneflags": ("clone_flags",),
    "quotacmd": ("quotacmds",),
    "socktype": ("socktypes", "sock_type_flags"),
}
_LOW = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Test:
    """``values`` met by register ``index``: one of them (``op`` is ``=``) or a bit of one of them (``&``).

    The register is first shifted right by ``shift``, then reduced to the bits of ``mask``.
    """

    index: int
    op: str
    values: frozenset[int]
    shift: int = 0
    mask: int = _LOW

    def met(self, registers: Sequence[int]) -> bool:
        value = ((registers[self.index] & _LOW) >> self.shift) & self.mask
        if self.op == "=":
            return value in self.values
        return any(value & bits for bits in self.values)


@dataclass(frozen=True, slots=True)
class Case:
    """``arg`` is what the argument is when every one of ``tests`` is met (no tests: always)."""

    tests: tuple[Test, ...]
    arg: Arg


@dataclass(frozen=True, slots=True)
class Chooser:
    """The cases of one argument, in order; the last one has no tests."""

    cases: tuple[Case, ...]

    def choose(self, registers: Sequence[int]) -> Arg:
        """The argument as it is for these argument registers of the call."""
        for case in self.cases:
            if all(test.met(registers) for test in case.tests):
                return case.arg
        raise LookupError("an alternative without a last case")

    def each(self, calls: Sequence[Sequence[int]]) -> list[Arg]:
        """The same for each of some calls' registers."""
        known: dict[tuple[int, ...], Arg] = {}
        looked_at = sorted({test.index for case in self.cases for test in case.tests})
        found = []
        for registers in calls:
            values = tuple([registers[index] for index in looked_at])
            arg = known.get(values)
            if arg is None:
                arg = known[values] = self.choose(registers)
            found.append(arg)
        return found


def chooser(call: Syscall, arg: Arg, lookup: Lookup | None = None) -> Chooser:
    """The chooser of ``arg``, an ``alt(NAME)`` argument of ``call``.

    ``lookup`` defaults to the tables of isotrace.decode.xlat. A constant that it does not know is left out
    of its test.
    """
    return _chooser(call, arg, lookup or _xlat)


def result_arg(call: Syscall) -> Arg:
    """The call's result as an Arg named ``ret``, for a result that is an ``alt(NAME)``."""
    return parse_kind("ret", call.ret)


def sets_of(call: Syscall, name: str) -> tuple[str, ...]:
    """The sets in which the constants of argument ``name`` of ``call`` are found."""
    return tuple(_sets(next(arg for arg in call.args if arg.name == name)))


def constants() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every constant that alternatives.txt names for some call, with the sets in which it is looked up."""
    seen = set()
    for abi in ABIS:
        for call in by_name(abi).values():
            for arg in (*call.args, result_arg(call)):
                for name, key in _constants(arg):
                    found = (key, sets_of(call, name))
                    if found not in seen:
                        seen.add(found)
                        yield found


def kinds(name: str) -> tuple[Arg, ...]:
    """The kinds that row ``name`` of alternatives.txt can choose from."""
    return tuple(parse_kind("", kind) for _, kind in _rows()[name])


def conditions(name: str) -> tuple[str, ...]:
    """The conditions of row ``name`` as they are written, beside ``kinds``."""
    return tuple(condition for condition, _ in _rows()[name])


@cache
def _chooser(call: Syscall, arg: Arg, lookup: Lookup) -> Chooser:
    cases = []
    for condition, kind in _rows()[arg.params[0]]:
        tests = tuple(_test(call, text, lookup) for text in _split(condition))
        cases.append(Case(tests, parse_kind(arg.name, kind)))
    return Chooser(tuple(cases))


def _test(call: Syscall, text: str, lookup: Lookup) -> Test:
    name, shift, mask, op, keys = _parse(text)
    index = next(place for place, arg in enumerate(call.args) if arg.name == name)
    values = (_value(key, sets_of(call, name), lookup) for key in keys)
    return Test(index, op, frozenset(value & _LOW for value in values if value is not None), shift, mask)


def _parse(text: str) -> tuple[str, int, int, str, list[str]]:
    """``cmd/0xff=IPC_STAT,IPC_SET`` as (name, shift, mask, op, values)."""
    op = "=" if "=" in text else "&"
    left, values = text.split(op)
    name, _, shift = left.partition(">>")
    name, _, mask = name.partition("/")
    return name, int(shift or "0"), int(mask, 16) if mask else _LOW, op, values.split(",")


def _split(condition: str) -> list[str]:
    return [] if condition == "*" else condition.split("+")


def _value(key: str, sets: tuple[str, ...], lookup: Lookup) -> int | None:
    if key[0].isdigit():
        return int(key, 0)
    return next((value for name in sets if (value := lookup(name, key)) is not None), None)


def _sets(arg: Arg) -> Iterator[str]:
    if arg.kind in ("flags", "enum", "flags32", "enum32", "flags64", "ipcmode", "vectorlength"):
        yield arg.params[0]
    elif arg.kind == "alt":
        for _, kind in _rows()[arg.params[0]]:
            yield from _sets(parse_kind("", kind))
    yield from _IMPLIED.get(arg.kind, ())


def _constants(arg: Arg) -> Iterator[tuple[str, str]]:
    """(argument, constant) of every test of an alternative."""
    if arg.kind == "alt":
        for condition, _ in _rows()[arg.params[0]]:
            for text in _split(condition):
                name, _, _, _, keys = _parse(text)
                yield from ((name, key) for key in keys if not key[0].isdigit())


@cache
def _rows() -> dict[str, list[tuple[str, str]]]:
    """``{name: [(condition, kind), …]}``."""
    rows: dict[str, list[tuple[str, str]]] = {}
    text = (Path(__file__).parent / "alternatives.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line and line[0] != "#":
            words = line.split()
            if line[0] != " ":
                cases = rows[words.pop(0)] = []
            for word in words:
                if word[0] == "<":
                    cases += _included(rows, word[1:])
                else:
                    condition, kind = word.split(":", 1)
                    cases.append((condition, kind))
    return rows


def _included(rows: dict[str, list[tuple[str, str]]], text: str) -> Iterator[tuple[str, str]]:
    """The cases of ``NAME`` or ``NAME(STRUCT,…)``: with STRUCT32 for each such struct, which may be a pattern."""
    name, patterns = (*text.rstrip(")").split("("), "")[:2]
    for condition, kind in rows[name]:
        word, *params = kind.rstrip(")").replace("(", ",").split(",")
        narrow = [one + "32" if any(fnmatchcase(one, each) for each in patterns.split(",")) else one for one in params]
        yield condition, f"{word}({','.join(narrow)})" if params else word


@cache
def _reversed_set(name: str) -> dict[str, int]:
    """``{constant: value}``; strace writes ``NAME or NAME`` where two requests share a number."""
    from isotrace.decode.ioctl_data import IOCTLS
    from isotrace.decode.xlat import SETS

    names = IOCTLS if name == "ioctl_cmds" else SETS[name].names if name in SETS else {}
    return {key: value for value, keys in names.items() for key in keys.split(" or ")}


def _xlat(name: str, key: str) -> int | None:
    return _reversed_set(name).get(key)
