"""`isotrace calls`: the catalogue, as a table, as the page of one call, or as JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

import click
import orjson

from isotrace import catalog
from isotrace.catalog import describe, expr, families, refuse, rings
from isotrace.catalog.model import ABIS, X32_BIT, Arg, Syscall
from isotrace.commands.recorded import from_option
from isotrace.errors import IsotraceError, UsageError
from isotrace.policy import names
from isotrace.process.console import coloured

# Sets that say little about a call: what systemd knows at all, and what it lets every service do.
_WIDE = frozenset({"@known", "@default", "@system-service"})

_EPILOG = """\b
Examples:
  isotrace calls                       every system call
  isotrace calls openat                one call: prototype, arguments, and
                                       what can deny it
  isotrace calls %network              a class of strace
  isotrace calls @file-system,!stat    a set of systemd, less one call
  isotrace calls '/^open/' --abi i386  a regular expression, the 32-bit table
  isotrace calls %io_uring             the operations of io_uring
  isotrace calls --format json | jq .name
  isotrace calls --from t.arrow %file  the recorded calls, and how often
"""


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del ctx, param
    return [
        word
        for word in (*sorted(catalog.names() | rings.names()), *families.table(), rings.FAMILY)
        if word.startswith(incomplete)
    ]


@click.command(epilog=_EPILOG)
@click.argument("terms", metavar="[NAME|FAMILY|EXPR]...", nargs=-1, shell_complete=_complete)
@click.option("--abi", type=click.Choice(ABIS), help="Only this ABI's calls, with its arguments.  [default: all]")
@from_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def calls(terms: tuple[str, ...], abi: str | None, sources: tuple[str, ...], form: str) -> int:
    """List system calls: their numbers on each ABI, arguments, families, and the mechanisms that can deny them."""
    made, status = _recorded(sources) if sources else (None, 0)
    every = catalog.names() if made is None else catalog.names() | rings.names()
    chosen = expr.parse(",".join(terms)) if terms else every
    wanted = frozenset(name.partition("@")[0] for name in chosen)
    if made is not None:
        wanted = wanted & made.keys()
    rows = [call for name in sorted(wanted) if (call := _call(name, abi)) is not None]
    if not rows and made is not None:
        raise IsotraceError("none of these calls was recorded", "isotrace calls --from FILE lists those that were")
    if not rows:
        raise UsageError(f"none of these calls exists on {abi}", f"drop --abi {abi}")
    if form == "json":
        for call in rows:
            click.echo(orjson.dumps(_record(call) | ({"recorded": made[call.name]} if made else {})))
    elif len(terms) == 1 and terms[0] in catalog.names() | rings.names():
        _show_page(rows[0])
    else:
        _show_table(rows, (abi,) if abi else ("x86_64", "i386", "arm64"), made)
    return status


def _recorded(sources: tuple[str, ...]) -> tuple[dict[str, int], int]:
    """The calls that recordings have, with how often they were made, and the exit status."""
    from isotrace.recording import parts, reader

    recordings = reader.open_all(sources)
    found = reader.counts(recordings)
    return found, parts.verdict(recordings).say()


def _call(name: str, abi: str | None) -> Syscall | None:
    """The call on ``abi``, or on the first ABI that has it."""
    found = (catalog.by_name(one).get(name) for one in ((abi,) if abi else ABIS))
    return next((call for call in found if call is not None), None if abi else rings.by_name().get(name))


def _refusable(call: Syscall) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The means that refuse it by number, and by object; an operation of io_uring has no number."""
    return ((), ()) if call.name in rings.names() else (refuse.by_number(call.name), refuse.by_object(call.name))


def _prototype(call: Syscall) -> str:
    return "" if call.name in rings.names() else catalog.prototype(call.name, call.abi)


def _numbers(name: str) -> dict[str, int]:
    return {abi: table[name].number for abi in ABIS if name in (table := catalog.by_name(abi))}


def _number(number: int) -> str:
    """With the x32 bit apart, as the kernel's headers write it."""
    return f"0x{X32_BIT:x} + {number ^ X32_BIT}" if number & X32_BIT else str(number)


def _families(names: Iterable[str]) -> list[str]:
    """strace's classes first, then systemd's sets."""
    return sorted(names, key=lambda name: (name[0] == "@", name))


def _record(call: Syscall) -> dict[str, object]:
    return {
        "name": call.name,
        "numbers": _numbers(call.name),
        "abi": call.abi,
        "prototype": _prototype(call),
        "args": [{"name": arg.name, "kind": arg.kind, "params": arg.params} for arg in call.args],
        "result": call.ret,
        "families": _families(call.families),
        "words": names.words_of(call.name),
        "refusable": dict(zip(("by_number", "by_object"), _refusable(call), strict=True)),
    }


def _show_table(rows: Sequence[Syscall], abis: Sequence[str | None], made: Mapping[str, int] | None) -> None:
    header = ["NAME", *(str(abi).upper() for abi in abis), "ARGUMENTS", "FAMILIES", "WORDS", "DENIABLE BY"]
    body = [_cells(call, abis) for call in rows]
    if made is not None:
        header.insert(1, "MADE")
        rows = sorted(rows, key=lambda call: -made[call.name])
        body = [[cells[0], str(made[call.name]), *cells[1:]] for call in rows for cells in [_cells(call, abis)]]
    if sys.stdout.isatty():
        _rich_table(header, body)
        return
    lines = [header, *([cell or "-" for cell in cells] for cells in body)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cells(call: Syscall, abis: Sequence[str | None]) -> list[str]:
    numbers = _numbers(call.name)
    by_number, by_object = _refusable(call)
    arguments = " ".join(f"{arg.name}:{describe.notation(arg)}" for arg in call.args)
    return [
        call.name,
        *(str(numbers.get(abi or "", "")) for abi in abis),
        arguments,
        " ".join(_families(call.families - _WIDE)),
        " ".join(names.words_of(call.name)),
        " ".join((*by_number, *(["lsm"] if by_object else []))),
    ]


def _rich_table(header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in header:
        number = title in ["MADE", *(abi.upper() for abi in ABIS)]
        table.add_column(
            title,
            justify="right" if number else "left",
            no_wrap=number or title == "NAME",
            overflow="fold",
            style="bold" if title == "NAME" else "",
        )
    for cells in body:
        table.add_row(*map(Text, cells))
    Console().print(table)


def _show_page(call: Syscall) -> None:
    click.echo(click.style(call.name, bold=True) if coloured(1) else call.name)
    click.echo(f"  long {call.name}({text})\n" if (text := _prototype(call)) else "")
    _section("Numbers", [(abi, _number(number)) for abi, number in _numbers(call.name).items()])
    _section("Arguments" if call.abi == "x86_64" else f"Arguments on {call.abi}", _argument_lines(call))
    _section("Result", _meaning_lines(describe.result(call)))
    _section("Families", [(name, "") for name in _families(call.families)])
    _section("Words of --deny that cover it", _word_lines(call.name))
    _section("Can be denied", _refusable_lines(call.name))


def _section(title: str, lines: Sequence[tuple[str, str]]) -> None:
    if lines:
        width = max(len(left) for left, _ in lines)
        click.echo(f"{title}:")
        for left, right in lines:
            click.echo(f"  {left.ljust(width)}{'  ' * bool(width)}{right}".rstrip())


def _argument_lines(call: Syscall) -> list[tuple[str, str]]:
    lines = []
    for arg in call.args:
        first, *more = (meaning for _, meaning in _meaning_lines(arg))
        lines += [(arg.name, first), *(("", meaning) for meaning in more)]
    return lines


def _meaning_lines(arg: Arg) -> list[tuple[str, str]]:
    """The meaning, and a line for each case when it depends on another argument."""
    cases = (f"  {condition}: {meaning}" for condition, meaning in describe.cases(arg))
    return [("", line) for line in (describe.meaning(arg), *cases)]


def _word_lines(name: str) -> list[tuple[str, str]]:
    """Each word and what it means."""
    found = [names.words()[word] for word in names.words_of(name)]
    return [(word.name, word.title + " (only with an address)" * (name in word.addressed)) for word in found]


def _refusable_lines(name: str) -> list[tuple[str, str]]:
    if name in rings.names():
        return [("with io_uring_setup", "all of them; rules on paths and addresses judge what each does")]
    if name in refuse.NEVER:
        return [("never", refuse.NEVER[name])]
    if name in refuse.NO_CODE:
        return [("no need", "the kernel has no code for it and answers ENOSYS")]
    hooks = refuse.by_object(name)
    lines = [("by number", ", ".join(refuse.by_number(name)))]
    return [*lines, ("by object", "LSM hooks " + ", ".join(hooks))] if hooks else lines
