"""``isotrace doctor``: what this kernel can do, as a table or as JSON."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import click
import orjson

from isotrace.errors import KernelError
from isotrace.kernel import features
from isotrace.kernel.features import Feature, LogVerdict
from isotrace.process.console import coloured

_USES = {"log": "to log", "refuse": "to deny", "module": "fallback module"}
_MARKS = {"yes": ("✓", "green"), "no": ("✗", "red"), "unknown": ("?", "magenta")}
_TRACING = "log, record, top"
_FOR_MODULE = ("modules", "unsigned_modules", "module_headers")
_SOME = ("~", "magenta")
_NAMES = 27  # columns of a name
_PIPE, _NARROW, _WIDE = 80, 60, 110  # columns

_EPILOG = f"""\b
Exit status: 0 when isotrace log can run, {KernelError.status} when it cannot.

\b
doctor changes nothing. It tries features with programs that do nothing, in a
child process that ends.

\b
Examples:
  sudo isotrace doctor
  sudo isotrace doctor --all
  sudo isotrace doctor --json |
      jq -r '.features[] | select(.verdict == "no") | .name'
  isotrace doctor >/dev/null 2>&1 || echo "cannot trace here"
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--all", "every", is_flag=True, help="Show each feature, why it is there or not, and what would change that."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: kernel, log, features.")
@click.option("--verify", is_flag=True, help="Also attack rules of block, in a child process; takes some seconds.")
def doctor(every: bool, as_json: bool, verify: bool) -> int:
    """Show what isotrace can do on this kernel (✓ yes, ✗ no, ? could not tell), why not, and what would help.

    doctor finds features by trying them. Only root can try most of them.
    """
    found = features.report()
    if verify:
        from isotrace.verify.doctor import feature

        found = (*found, feature())
    by_name = {feature.name: feature for feature in found}
    verdict, by_module = features.log_verdict(by_name), by_name["lkm"].verdict == "yes"
    if as_json:
        click.echo(orjson.dumps(as_record(found, verdict)))
    else:
        kernel = os.uname()
        click.echo(f"Linux {kernel.release} {kernel.machine}\n")
        for entry in _features(found) if every else _abilities(by_name, verdict):
            _print(entry)
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


@dataclass(frozen=True)
class _Entry:
    """A feature or ability: ``verdict`` as features have it, or "some"; each of ``lines`` is wrapped by itself."""

    verdict: str
    name: str
    lines: tuple[str, ...]


def _abilities(found: Mapping[str, Feature], verdict: LogVerdict) -> Iterator[_Entry | str]:
    """What can be done, in a few lines."""
    from isotrace.enforce.abilities import abilities
    from isotrace.enforce.findings import KernelFindings

    yield _tracing(verdict, found)
    said = ""
    for one in abilities(KernelFindings(found)):
        lines = [f"{', '.join(kinds)} by {mechanism}" for mechanism, kinds in one.held.items()]
        lines += [
            f"{', '.join(kinds)} by {name}, less than a rule says: --best-effort" for name, kinds in one.less.items()
        ]
        if one.missing:
            why = "as above" if one.why == said else one.why
            lines.append(f"{'not ' if lines else ''}{', '.join(one.missing)}: {why}")
            lines += [f"→ {one.remedy}"] if one.remedy and one.why != said else []
            said = one.why
        verdict_of = "yes" if not one.missing else "some" if one.held or one.less else "no"
        yield _Entry(verdict_of, one.title, tuple(lines))
    lacking = [found[name] for name in _FOR_MODULE if found[name].verdict == "no"]
    module = found["lkm"] if found["lkm"].verdict == "yes" or not lacking else lacking[0]
    yield _of(module, "kernel module", "loaded: taken where BPF cannot serve")
    yield "\nEvery feature: isotrace doctor --all. Each rule: isotrace policy explain FILE."


def _tracing(verdict: LogVerdict, found: Mapping[str, Feature]) -> _Entry:
    if verdict.ok:
        return _Entry("yes", _TRACING, ("every call, of running processes and of commands",))
    if found["lkm"].verdict == "yes":
        return _Entry("some", _TRACING, ("log by the kernel module", f"BPF cannot: {verdict.why}"))
    lines = [verdict.why, *([f"→ {verdict.hint}"] if verdict.hint else [])]
    if found["modules"].verdict == "yes":
        lines.append("→ or log by the kernel module: isotrace module build && isotrace module load")
    return _Entry("no", _TRACING, tuple(lines))


def _of(feature: Feature, name: str, there: str) -> _Entry:
    if feature.verdict == "yes":
        return _Entry("yes", name, (there,))
    return _Entry(feature.verdict, name, (feature.why, *([f"→ {feature.remedy}"] if feature.remedy else [])))


def _features(found: Iterable[Feature]) -> Iterator[_Entry | str]:
    """All of them, by main use."""
    groups: dict[str, list[Feature]] = {use: [] for use in _USES}
    for feature in found:
        groups[feature.needed_for[0]].append(feature)
    for use, group in groups.items():
        yield f"{_USES[use]}:"
        for feature in group:
            help_ = (f"→ {feature.remedy}",) if feature.remedy else ()
            yield _Entry(feature.verdict, feature.name, (feature.what, feature.why, *help_))
        yield ""


def _print(entry: _Entry | str) -> None:
    if isinstance(entry, str):
        click.echo(entry)
        return
    mark, colour = _SOME if entry.verdict == "some" else _MARKS[entry.verdict]
    indent = " " * (_NAMES + 3)
    room = _columns() - len(indent)
    head = f"{click.style(mark, fg=colour) if coloured(1) else mark} {entry.name:{_NAMES}} "
    wrapped = [piece for line in entry.lines for piece in textwrap.wrap(line, room, break_on_hyphens=False)]
    click.echo(f"\n{indent}".join([head + (wrapped[0] if wrapped else ""), *wrapped[1:]]))


def _columns() -> int:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE
    return min(max(width, _NARROW), _WIDE)
