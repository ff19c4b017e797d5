"""docs/benchmarks.md from what was measured. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.runs import Cell, Table
from bench.tools import COLD, GROUPS, Tool

Cells = Mapping[str, Cell]


@dataclass(frozen=True)
class Results:
    """All that was measured. ``works``: name → cells; ``served``: those of them whose figure is requests per second."""

    works: Table
    bystander: Cells
    start_up: Cells
    served: frozenset[str]
    missing: Mapping[str, str]
    short: Mapping[str, int] = field(default_factory=dict)


def spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    """Median and, where there are several, the least and the largest."""
    middle = form(statistics.median(values))
    return f"{middle} ({form(min(values))}…{form(max(values))})" if len(values) > 1 else middle


def ratio(value: float) -> str:
    """A ratio with two or three digits that mean something."""
    return f"{value:.0f}×" if value >= 20 else f"{value:.1f}×" if value >= 5 else f"{value:.2f}×"


def _or_why(cell: Cell | None, text: Callable[[Cell], str]) -> str:
    if cell is None:
        return "–"
    return text(cell) if cell.times else f"no: {cell.why}".replace("|", "/").replace("\n", " ")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown, with an empty one at the end."""
    rule = "|---|" + "---:|" * (len(heads) - 1)
    return [f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _slowdowns(results: Results, group: str, tools: Sequence[Tool]) -> list[str]:
    names = [tool.name for tool in tools if tool.group == group]
    rows = []
    for work, cells in results.works.items():
        if any(name in cells for name in names):
            rows.append([work, *(_or_why(cells.get(name), lambda cell: spread(cell.ratios, ratio)) for name in names)])
    return table(["slowdown, " + GROUPS[group], *names], rows)


def _lost(results: Results, tools: Sequence[Tool]) -> list[str]:
    rows = []
    for tool in tools:
        counts = {work: max(cells[tool.name].lost) for work, cells in results.works.items() if _has(cells, tool)}
        if counts and tool.lost:
            words = ", ".join(f"{work} {count:,}" for work, count in counts.items() if count)
            rows.append([tool.name, f"{sum(counts.values()):,}", words or "none on any work"])
    return table(["lost, the worst run of each work", "in all", "on"], rows)


def _has(cells: Cells, tool: Tool) -> bool:
    return tool.name in cells and bool(cells[tool.name].times)


#: The groups of tools that have a first line to wait for.
_PRINTING = ("text", "counts")


def cpu_per_million(cell: Cell, start: Cell | None) -> float:
    """Seconds of the tool's CPU per million calls, without what `true` costs it. ``nan`` where calls are not known."""
    idle = statistics.median(start.cpu) if start and start.cpu else 0.0
    calls = statistics.median(cell.calls)
    return max(0.0, statistics.median(cell.cpu) - idle) / calls * 1e6 if calls else float("nan")


def _costs(results: Results, tools: Sequence[Tool]) -> list[str]:
    loops = [work for work, cells in results.works.items() if any(sum(cell.calls) for cell in cells.values())]
    rows = []
    for tool in (*tools, COLD):
        row = [tool.name]
        for work in loops:
            row.append(
                _or_why(results.works[work].get(tool.name), lambda cell, tool=tool: _cpu(cell, results, tool))  # type: ignore[misc]
            )
        peaks = [max(cells[tool.name].peak) for cells in results.works.values() if _has(cells, tool)]
        row.append(f"{max(peaks) / 1024:.0f} MiB" if peaks else "–")
        begun = results.start_up.get(tool.name) if tool.group in _PRINTING else None
        row.append(_or_why(begun, lambda cell: spread(cell.times, lambda v: f"{v:.2f} s")))
        rows.append(row)
    heads = [f"CPU per million calls (calls per CPU second): {work}" for work in loops]
    return table(["cost of the tool itself", *heads, "peak memory, any work", "start to first line"], rows)


def _cpu(cell: Cell, results: Results, tool: Tool) -> str:
    value = cpu_per_million(cell, results.start_up.get(tool.name))
    return f"{value:.2f} s ({1e6 / value:,.0f}/s)" if value > 0 else "below what can be measured"


def _served(results: Results, tools: Sequence[Tool]) -> list[str]:
    works = [work for work in results.works if work in results.served]
    rows = []
    for name in ("bare", *(tool.name for tool in tools)):
        cells = [results.works[work].get(name) for work in works]
        if any(cells):
            rows.append([name, *(_or_why(cell, _kept) for cell in cells)])
    return table(["requests per second, of the bare server's", *works], rows) if works else []


def _kept(cell: Cell) -> str:
    if not cell.ratios:
        return spread([1e9 / time for time in cell.times], lambda v: f"{v:,.0f}/s")
    return spread([100 / ratio for ratio in cell.ratios], lambda v: f"{v:.0f} %")


def _bystander(results: Results, tools: Sequence[Tool]) -> list[str]:
    bare = results.bystander.get("bare", Cell()).times
    rows = [["bare", "", spread(bare, lambda v: f"{v:.0f} ns")]] if bare else []
    for tool in tools:
        if cell := results.bystander.get(tool.name):
            added = [time - time / part for time, part in zip(cell.times, cell.ratios, strict=False)]
            nanoseconds = spread(added, lambda v: f"{v:+.0f} ns") if added else ""
            rows.append([tool.name, _or_why(cell, lambda c: spread(c.ratios, ratio)), nanoseconds])
    return table(["getppid in a process that is not traced", "slowdown", "added to a call"], rows)


# ---- what the issue asks for ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """A threshold: ``figure`` as measured, None where it could not be; ``holds`` says of it whether that is enough."""

    asked: str
    figure: float | None
    holds: Callable[[float], bool]
    form: str = "{:.2f}"

    def row(self) -> list[str]:
        """A line of the table."""
        if self.figure is None:
            return [self.asked, "not measured", "?"]
        return [self.asked, self.form.format(self.figure), "yes" if self.holds(self.figure) else "**no**"]


def _cell(cells: Cells | None, name: str) -> Cell | None:
    found = (cells or {}).get(name)
    return found if found and found.times else None


def _added(cells: Cells | None, name: str) -> float | None:
    """What a tool adds to the work, in units of the bare work."""
    found = _cell(cells, name)
    return found.ratio - 1 if found and found.ratios else None


def _times(first: float | None, second: float | None) -> float | None:
    """How many times ``second`` is in ``first``; without end where ``second`` is nothing that can be measured."""
    if first is None or second is None:
        return None
    return first / second if second > 0 else float("inf")


def _cheapest(results: Results, tools: Sequence[Tool]) -> list[Goal]:
    found = []
    for group in GROUPS:
        ours = [tool.name for tool in tools if tool.group == group and tool.is_ours]
        theirs = [tool.name for tool in tools if tool.group == group and not tool.is_ours and not tool.less]
        for work, cells in results.works.items():
            mine = [cell.ratio for name in ours if (cell := _cell(cells, name)) and cell.ratios]
            others = [cell.ratio for name in theirs if (cell := _cell(cells, name)) and cell.ratios]
            if mine and others:
                asked = f"least slowdown, {group}: {work} (isotrace ÷ the best peer)"
                found.append(Goal(asked, mine[0] / min(others), lambda v: v <= 1))
    return found


def goals(results: Results, tools: Sequence[Tool]) -> list[Goal]:
    """The thresholds of the project, with what was measured."""
    works, start = results.works, results.start_up
    text, none = "isotrace log", "isotrace log --format none"
    found = []
    for work in list(works)[:3]:
        added = _times(_added(works[work], "strace -f"), _added(works[work], text))
        found.append(Goal(f"strace -f adds at least 40 times as much: {work}", added, lambda v: v >= 40, "{:.0f}×"))
    for name, least in ((none, 85), (text, 70)):
        redis = next((_cell(cells, name) for work, cells in works.items() if work.startswith("redis")), None)
        kept = 100 / redis.ratio if redis else None
        form = "{:.0f} %"
        found.append(
            Goal(f"redis-server keeps at least {least} % under {name}", kept, lambda v, le=least: v >= le, form)  # type: ignore[misc]
        )
    for name, other in ((text, "bpftrace, print"), (text, "bpftrace, count")):
        peer, ours = _cell(results.bystander, other), _cell(results.bystander, name)
        beside = _times(ours.ratio if ours else None, peer.ratio if peer else None)
        asked = f"a bystander of {name} pays no more than one of {other} (time ÷ time)"
        found.append(Goal(asked, beside, lambda v: v <= 1))
    first = _cell(start, text)
    seconds = statistics.median(first.times) if first else None
    found.append(Goal("start to first line below 0.8 s", seconds, lambda v: v < 0.8, "{:.2f} s"))
    loop = works.get("getppid in a loop")
    for name in (none, text):
        theirs, mine = _cell(loop, "perf trace"), _cell(loop, name)
        per = [cpu_per_million(c, start.get(n)) if c else None for c, n in ((theirs, "perf trace"), (mine, name))]
        asked = f"perf trace takes at least 5 times the CPU per call of {name}"
        found.append(Goal(asked, _times(per[0], per[1]), lambda v: v >= 5, "{:.1f}×"))
    return found + _cheapest(results, tools)


def page(results: Results, tools: Sequence[Tool], machine: str, repeat: str, notes: str) -> str:
    """The whole of docs/benchmarks.md. ``notes`` are kept by hand: they are put at the end as they are."""
    lines = ["# Benchmarks", "", *repeat.strip().splitlines(), "", machine, "", "## Goals", ""]
    lines += table(["goal", "measured", "met"], [goal.row() for goal in goals(results, tools)])
    lines += [
        "## Slowdown of the traced work",
        "",
        "Ratio to the bare work of the same round: median (least…most).",
        "",
    ]
    for group in GROUPS:
        lines += _slowdowns(results, group, tools)
    said = [f"* {name}: {why}" for name, why in results.missing.items()]
    said += [f"* {name}: only {rounds} rounds, for want of time" for name, rounds in results.short.items()]
    lines += [*said, *([""] if said else []), "## Servers", "", *_served(results, tools)]
    lines += ["## Losses", "", *_lost(results, tools), "## The tools themselves", "", *_costs(results, tools)]
    lines += ["## A bystander", "", *_bystander(results, tools)]
    return "\n".join(lines) + "\n" + notes


#: The section that ``bench.block`` measures, apart from all else.
BLOCK_HEADING = "## isotrace block"


def _around_block(page: str) -> tuple[str, str, str]:
    """A page before, in, and after that section; it is "" where there is none."""
    before, heading, rest = page.partition(f"{BLOCK_HEADING}\n")
    inside, mark, after = rest.partition("\n## ")
    return before, heading + inside, mark + after


def block_of(page: str) -> str:
    """The section as it is in a page, "" if it has none."""
    return _around_block(page)[1]


def with_block(page: str, section: str) -> str:
    """The page with this section in the place of the one that it had, or at its end."""
    before, _, after = _around_block(page)
    return f"{before.rstrip()}\n\n{section.rstrip()}\n{after}" if section else page
