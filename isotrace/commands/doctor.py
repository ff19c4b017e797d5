"""``isotrace doctor``: what this kernel can do, as a table or as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

import click
import orjson

from isotrace.errors import KernelError
from isotrace.kernel import features
from isotrace.kernel.features import Feature, LogVerdict

_TITLES = {"log": "to log", "refuse": "to refuse", "module": "fallback module"}
_MARKS = {"yes": ("✓", "green"), "no": ("✗", "red"), "unknown": ("?", "yellow")}
_HEADER = ("FEATURE", "VERDICT", "FOR", "WHY", "WHAT WOULD CHANGE IT")

_EPILOG = f"""\b
Exit status: 0 when `isotrace log` can run, {KernelError.status} when it cannot.

\b
Nothing is changed: what is tried is tried with programs that do nothing, and in a child process that ends.

\b
Examples:
  sudo isotrace doctor
  sudo isotrace doctor --json | jq -r '.features[] | select(.verdict == "no") | .name'
  isotrace doctor >/dev/null 2>&1 || echo "cannot trace here"
"""


@click.command(epilog=_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: kernel, log, features.")
@click.option("--verify", is_flag=True, help="Also attack rules of block, in a child that ends; takes some seconds.")
def doctor(as_json: bool, verify: bool) -> int:
    """Say what this kernel can do: each feature yes (✓), no (✗) or could not tell (?), why, and what would
    change it. Features are found by trying them, and most can be tried by root only."""
    found = features.report()
    if verify:
        from isotrace.verify.doctor import feature

        found = (*found, feature())
    by_name = {feature.name: feature for feature in found}
    verdict, by_module = features.log_verdict(by_name), by_name["lkm"].verdict == "yes"
    if as_json:
        click.echo(orjson.dumps(as_record(found, verdict)))
    else:
        _show(found)
        for line in closing(verdict, by_module):
            click.echo(line)
    return 0 if verdict.ok or by_module else KernelError.status


def as_record(found: Iterable[Feature], verdict: LogVerdict) -> dict[str, object]:
    """The object that --json prints."""
    kernel = os.uname()
    return {
        "kernel": {"release": kernel.release, "version": kernel.version, "machine": kernel.machine},
        "log": {"ok": verdict.ok, "why": verdict.why, "hint": verdict.hint},
        "features": [
            {
                "name": feature.name,
                "verdict": feature.verdict,
                "why": feature.why,
                "remedy": feature.remedy,
                "needed_for": list(feature.needed_for),
                "what": feature.what,
            }
            for feature in found
        ],
    }


def closing(verdict: LogVerdict, by_module: bool = False) -> list[str]:
    """The last lines: whether ``log`` can run, ``by_module`` where BPF cannot."""
    lines = ["log: can run"] if verdict.ok else [f"log: cannot run: {verdict.why}; hint: {verdict.hint}"]
    if by_module and not verdict.ok:
        lines = [f"log: can run, by the kernel module; BPF cannot: {verdict.why}"]
    elif not verdict.ok:
        lines.append(
            "the kernel module would be taken where it is loaded: isotrace module build && isotrace module load"
        )
    return lines


def _groups(found: Iterable[Feature]) -> dict[str, list[Feature]]:
    """By main use, in the order of the titles."""
    groups: dict[str, list[Feature]] = {use: [] for use in _TITLES}
    for feature in found:
        groups[feature.needed_for[0]].append(feature)
    return groups


def _show(found: Iterable[Feature]) -> None:
    kernel = os.uname()
    click.echo(f"Linux {kernel.release} {kernel.machine}\n")
    if sys.stdout.isatty():
        _rich_table(_groups(found))
    else:
        _plain_table(_groups(found))


def _plain_table(groups: dict[str, list[Feature]]) -> None:
    rows = [(f.name, f.verdict, f.what, f.why, f.remedy or "-") for group in groups.values() for f in group]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    click.echo(line(_HEADER))
    at = iter(rows)
    for use, group in groups.items():
        click.echo(f"\n{_TITLES[use]}:")
        for _ in group:
            click.echo(line(next(at)))
    click.echo()


def _rich_table(groups: dict[str, list[Feature]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in _HEADER:
        fixed = title in ("FEATURE", "VERDICT")
        table.add_column(title, no_wrap=fixed, overflow="fold", style="bold" if title == "FEATURE" else "")
    for use, group in groups.items():
        table.add_row(Text(_TITLES[use], style="bold underline"))
        for feature in group:
            mark, colour = _MARKS[feature.verdict]
            verdict = Text(f"{mark} {feature.verdict}", style=colour)
            table.add_row(Text(feature.name), verdict, *map(Text, (feature.what, feature.why, feature.remedy)))
        table.add_section()
    Console().print(table)
