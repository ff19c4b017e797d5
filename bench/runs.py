"""The measurements: every tool on every work, in turns with the bare work, so that a busy machine slows all alike."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.measure import Keeper, Started, Trouble, wait_until
from bench.tools import COLD, Tool
from bench.works import Outcome, Place, Work, attached

_BYSTANDER_CALLS = "400000"
_FEWEST = 2  # rounds


@dataclass
class Cell:
    """A tool on a work. ``ratios`` are to the bare work of the same round; ``why`` there are none, if there are none."""

    why: str = ""
    times: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median; raises ``StatisticsError`` where there is none."""
        return statistics.median(self.ratios)


Table = dict[str, dict[str, Cell]]


def progress(text: str) -> None:
    """A line for who waits."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


@dataclass
class Budget:
    """Rounds while there is time: ``sections`` share what is left of it; each gets two rounds whatever that takes."""

    rounds: int
    seconds: float
    sections: int
    short: dict[str, int] = field(default_factory=dict)
    _spent: float = 0.0

    def take(self, name: str) -> Iterator[int]:
        """The numbers of the rounds of the section ``name``; notes in ``short`` when they are fewer than asked for."""
        began = time.monotonic()
        share = (self.seconds - self._spent) / max(1, self.sections)
        for number in range(self.rounds):
            spent = time.monotonic() - began
            if number >= _FEWEST and spent * (number + 1) / number > share:
                self.short[name] = number
                progress(f"{name}: {number} rounds of {self.rounds}, for want of time")
                break
            progress(f"{name}, {number + 1} of {self.rounds}")
            yield number
        self.sections -= 1
        self._spent += time.monotonic() - began


@dataclass(frozen=True)
class Bench:
    """What the measurements share. ``unable`` says of tools that cannot run here why."""

    place: Place
    budget: Budget
    tools: Sequence[Tool]
    unable: dict[str, str]

    @property
    def _keeper(self) -> Keeper:
        return self.place.keeper

    @property
    def _out(self) -> Path:
        return self.place.scratch / "out"

    def _clear(self) -> None:
        for path in (self._out, Path(f"{self._out}.old")):
            path.unlink(missing_ok=True)

    # ---- works -----------------------------------------------------------------------------------------------------

    def slowdown(self, work: Work) -> dict[str, Cell]:
        """Tool → cell; the bare work is called "bare"."""
        tools = [tool for tool in self.tools if tool.group in work.groups]
        cells = {"bare": Cell()} | {tool.name: Cell(self._why_not(tool, work)) for tool in tools}
        for _ in self.budget.take(work.name):
            bare = work.once(self.place, lambda command: command, 1)
            self._keeper.end(bare.tracer)
            cells["bare"].times.append(bare.time)
            for tool in tools:
                if not cells[tool.name].why:
                    self._add(cells[tool.name], tool, work, bare.time)
        return cells

    def _why_not(self, tool: Tool, work: Work) -> str:
        if tool.name in self.unable:
            return self.unable[tool.name]
        if tool.attach and not work.loop:
            return "is told the pid of one process: others that it starts are not traced"
        return ""

    def _add(self, cell: Cell, tool: Tool, work: Work, bare: float) -> None:
        self._clear()
        try:
            outcome = self._once(tool, work)
        except Trouble as trouble:
            cell.why = str(trouble)
            return
        said = self._said(tool, outcome.tracer)
        cell.times.append(outcome.time)
        cell.ratios.append(outcome.time / bare)
        cell.lost.append(tool.losses(said))
        cell.cpu.append(outcome.tracer.cost.cpu)
        cell.peak.append(outcome.tracer.cost.peak)
        cell.calls.append(outcome.calls)
        self._keeper.end(outcome.tracer)
        self._clear()

    def _once(self, tool: Tool, work: Work) -> Outcome:
        if tool.attach and work.loop:
            return attached(self.place, work.loop, partial(_with_pid, tool), tool.attach)
        return work.once(self.place, lambda command: tool.argv(self._out, command), tool.slow)

    def _said(self, tool: Tool, tracer: Started) -> str:
        """What tells of losses: its words, and of its output the lines on that."""
        if tool.name == "perf record":
            command = ["perf", "report", "--stats", "-i", str(self._out)]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout
        lines = [tracer.said]
        if tool.lost and not tool.is_ours and self._out.exists():
            with self._out.open(errors="replace") as output:
                lines += [line for line in output if "LOST" in line or "Lost" in line]
        return "\n".join(lines)

    # ---- bystanders and start-up -----------------------------------------------------------------------------------------

    def bystander(self) -> dict[str, Cell]:
        """getppid in a process that is not traced, while a tool traces one that sleeps."""
        tools = [tool for tool in self.tools if not tool.attach and tool.group in ("text", "counts")]
        cells = {"bare": Cell()} | {tool.name: Cell(self.unable.get(tool.name, "")) for tool in tools}
        for _ in self.budget.take("a bystander"):
            bare = self._loop()
            cells["bare"].times.append(bare)
            for tool in tools:
                cell = cells[tool.name]
                if cell.why:
                    continue
                try:
                    with self._standing(tool):
                        cell.times.append(self._loop())
                    cell.ratios.append(cell.times[-1] / bare)
                except Trouble as trouble:
                    cell.why = str(trouble)
        return cells

    def _loop(self) -> float:
        with self._keeper.running([self.place.binary, "getppid", _BYSTANDER_CALLS]) as one:
            one.finish()
            return float(one.said)

    @contextlib.contextmanager
    def _standing(self, tool: Tool) -> Iterator[None]:
        """The tool, with a process that sleeps; both end with the block."""
        self._clear()
        mark = self.place.scratch / "standing"
        with self._keeper.running(tool.argv(self._out, [str(self.place.binary), "stand", str(mark)])) as tracer:
            try:
                wait_until(lambda: mark.exists() or tracer.ended(), 30, "the traced process did not start")
                if tracer.ended():
                    raise Trouble(f"ended at once: {tracer.tail()}")
                yield
            finally:
                mark.unlink(missing_ok=True)
                wait_until(tracer.ended, 20, "the tool did not end")

    def start_up(self) -> dict[str, Cell]:
        """Seconds until `true` has given the first line of output, and the tool's CPU for all of it."""
        tools = [tool for tool in self.tools if not tool.attach]
        tools += [COLD] if any(tool.is_ours for tool in tools) else []
        cells = {tool.name: Cell(self.unable.get(tool.name, "")) for tool in tools}
        for tool in tools:  # once unmeasured: what is read from the disk is in memory then, what is kept is kept
            self._start_up(Cell(), tool)
        for _ in self.budget.take("start-up"):
            for tool in tools:
                if not cells[tool.name].why:
                    self._start_up(cells[tool.name], tool)
        return cells

    def _start_up(self, cell: Cell, tool: Tool) -> None:
        self._clear()
        first: list[float] = []

        def ended() -> bool:
            if not first and self._out.exists() and self._out.stat().st_size:
                first.append(time.monotonic() - tracer.began)
            return tracer.ended()

        with self._keeper.running(tool.argv(self._out, ["/bin/true"])) as tracer:
            try:
                wait_until(ended, 60, "the tool did not end", 0.002)
                tracer.finish()
            except Trouble as trouble:
                cell.why = str(trouble)
                return
            cell.times.append(first[0] if first else tracer.cost.wall)
            cell.cpu.append(tracer.cost.cpu)


def _with_pid(tool: Tool, pid: int) -> list[str]:
    return [*tool.command, str(pid)]


def unable(tools: Sequence[Tool], place: Place) -> dict[str, str]:
    """Tool → why it cannot run here; those that can are not in it."""
    found = {}
    for tool in tools:
        if missing := tool.missing():
            found[tool.name] = missing
        elif tool.attach:
            try:
                command = partial(_with_pid, tool)
                place.keeper.end(attached(place, ("getppid", 1, 1), command, tool.attach).tracer)
            except Trouble as trouble:
                found[tool.name] = str(trouble)
    return found
