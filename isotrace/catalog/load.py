"""Reads the catalogue's tables: each file once, each ABI's table when it is first asked for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from isotrace.catalog import families
from isotrace.catalog.model import ABIS, X32_BIT, Arg, Syscall

_HERE = Path(__file__).parent


@cache
def by_name(abi: str) -> dict[str, Syscall]:
    """Every system call of ``abi`` by name. Raises ``KeyError`` for an ABI that is not in ``ABIS``."""
    numbers = _numbers()[abi]
    rows, memberships = _meanings(), families.memberships()
    none: frozenset[str] = frozenset()
    return {
        name: Syscall(
            name,
            abi,
            number,
            *(rows.get((name, abi)) or rows[name, ""]),
            memberships.get(name, none),
            _widths(name, abi),
        )
        for name, number in numbers.items()
    }


@cache
def by_number(abi: str) -> dict[int, Syscall]:
    """Every system call of ``abi`` by the number that the kernel sees (for x32 that is with the x32 bit)."""
    return {call.number: call for call in by_name(abi).values()}


@cache
def names() -> frozenset[str]:
    """The names of all ABIs."""
    return frozenset(_prototypes())


def prototype(name: str, abi: str = "x86_64") -> str:
    """The kernel's C argument list: ``int dfd, const char * filename, …``. Raises ``KeyError``."""
    general, i386 = _prototypes()[name]
    return i386 if abi == "i386" else general


# C types of arguments that are not 32 bits wide; pointers are 64.
_WIDTHS = dict.fromkeys(
    (
        *("long", "unsigned long", "size_t", "ssize_t", "off_t", "loff_t", "u64", "__u64", "uint64_t", "aio_context_t"),
        *("old_sigset_t", "__sighandler_t", "cap_user_header_t", "cap_user_data_t", "const cap_user_data_t"),
    ),
    64,
) | {"umode_t": 16}


def _widths(name: str, abi: str) -> tuple[int, ...]:
    """For each argument the bits of its register that the kernel looks at; i386's registers have no more than 32."""
    if name not in _prototypes():
        return ()
    types = [declaration.strip() for declaration in prototype(name, abi).split(",")]
    return tuple(min(width_of(text), 32 if abi == "i386" else 64) for text in types)


def width_of(declaration: str) -> int:
    """The width in bits of a parameter such as ``const char * name`` or ``unsigned flags`` on a 64-bit ABI."""
    if "*" in declaration:
        return 64
    words = declaration.split()
    return _WIDTHS.get(" ".join(words[:-1]), _WIDTHS.get(declaration, 32))


def families_of(name: str) -> frozenset[str]:
    """strace's ``%`` classes and systemd's ``@`` sets that contain ``name``."""
    return families.memberships().get(name, frozenset())


def parse_kind(name: str, text: str) -> Arg:
    """``("buf", "inbuf(count)")`` as an Arg."""
    if not text.endswith(")"):
        return Arg(name, text)
    kind, params = text[:-1].split("(", 1)
    return Arg(name, kind, tuple(params.split(",")))


@cache
def _rows() -> list[list[str]]:
    lines = (_HERE / "numbers.tsv").read_text(encoding="ascii").splitlines()
    return [line.split("\t") for line in lines if line[0] != "#"]


@cache
def _numbers() -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {abi: {} for abi in ABIS}
    for name, x86_64, x32, i386, arm64, *_ in _rows():
        for abi, cell in (("x86_64", x86_64), ("i386", i386), ("arm64", arm64)):
            if cell != "-":
                table[abi][name] = int(cell)
        x32 = x86_64 if x32 == "=" else x32
        if x32 != "-":
            table["x32"][name] = X32_BIT | int(x32)
    return table


@cache
def _prototypes() -> dict[str, tuple[str, str]]:
    return {row[0]: (row[5], row[5] if row[6] == "=" else row[6]) for row in _rows()}


@cache
def _meanings() -> dict[tuple[str, str], tuple[tuple[Arg, ...], str]]:
    """``{(name, abi or ""): (arguments, result)}``."""
    seen: dict[str, Arg] = {}
    table = {}
    for line in (_HERE / "meanings.txt").read_text(encoding="utf-8").splitlines():
        if line and line[0] != "#":
            key, args, result = _meaning(line, seen)
            name, _, abis = key.partition("@")
            for abi in abis.split(","):
                table[name, abi] = (args, result)
    return table


def _meaning(line: str, seen: dict[str, Arg]) -> tuple[str, tuple[Arg, ...], str]:
    words, _, result = line.partition("->")
    key, *fields = words.split()
    for field in fields:
        if field not in seen:
            seen[field] = parse_kind(*field.split(":", 1))
    return key, tuple(seen[field] for field in fields), result.strip() or "int"
