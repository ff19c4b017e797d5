"""What ``isotrace top`` does once its arguments are understood."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from dataclasses import dataclass

from isotrace.backends.counts import Counting
from isotrace.backends.loader import Loader
from isotrace.errors import IsotraceError
from isotrace.kernel.facts import facts
from isotrace.process import nursery
from isotrace.process.interrupts import Interrupts
from isotrace.process.launch import Command
from isotrace.process.telling import say
from isotrace.run.ending import Ending
from isotrace.top.source import Source, Worker
from isotrace.trace.target import Target

_SETTLE = 0.02  # seconds for a program that still runs on another CPU after it was detached
_PATIENCE = 2.0  # seconds that a command gets between SIGTERM and SIGKILL
_TICK = 0.05
_LONGEST_END = 30.0  # seconds between a signal and the end of the table
_HUNG_UP = 129  # as a shell tells of SIGHUP
_M_MMAP_THRESHOLD = -3  # malloc.h


@dataclass(frozen=True)
class Choices:
    """The options of the command line that are not the target. ``output`` is a file's name."""

    once: bool
    style: str
    seconds: float | None
    view: str
    interval: float
    places: bool
    output: str | None


def _give_memory_back() -> None:
    """Let glibc return each large array when it is freed, instead of raising its threshold with the first."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 18)


def run(target: Target, calls: frozenset[str] | None, command: Command | None, loader: Loader, choices: Choices) -> int:
    """Count until the target, the time or the user's patience ends; returns the exit status. Raises ``IsotraceError``."""
    try:
        backend = Counting(target, calls, facts(), loader, choices.places)
        # With the table on the screen Ctrl-C is a key, and a signal to isotrace is meant for isotrace.
        interrupts = Interrupts(command.send if command and choices.once else None)
        backend.open(command.pid if command else None)
        source = Source(backend)
        if command:
            command.start()
    except BaseException:
        loader.close()
        if command:
            command.abandon()
        raise
    _give_memory_back()
    told: list[str] = []
    ending = Ending(target, backend, interrupts, command, choices.seconds, say if choices.once else told.append)
    try:
        if choices.once:
            _once(backend, source, ending, choices)
        else:
            _watch(target, command, backend, source, ending, interrupts, choices)
    finally:
        if command:
            _end(command)
        backend.close()
    return ending.status


def _once(backend: Counting, source: Source, ending: Ending, choices: Choices) -> None:
    from isotrace.top import summary

    source.wishes.places = choices.view == "file" or choices.style == "json"
    looked = time.monotonic()
    while (reason := ending.reason()) is None:
        time.sleep(_TICK)
        if time.monotonic() - looked > min(
            choices.interval, source.room_for
        ):  # so that the rows of processes that end make room
            source.look()
            looked = time.monotonic()
    backend.detach()
    time.sleep(_SETTLE)
    source.look()  # who is met at the last look can be known to have ended only at the next
    snapshot = source.look(ended=reason)
    if choices.style == "json":
        summary.write_json(snapshot)
    else:
        summary.write_text(snapshot, choices.view)
    if reason:
        say(reason)


def _watch(
    target: Target,
    command: Command | None,
    backend: Counting,
    source: Source,
    ending: Ending,
    interrupts: Interrupts,
    choices: Choices,
) -> None:
    from isotrace.top import family
    from isotrace.top.app import TopApp
    from isotrace.top.refuser import Refuser

    for name in ("COLUMNS", "LINES"):  # the size of a terminal that may change
        os.environ.pop(name, None)
    note = ""
    if command:
        where = f"to {choices.output}" if choices.output else "nowhere (--output FILE keeps it)"
        note = f"the command's output goes {where}"
    worker = Worker(source, ending.reason, choices.interval)
    watched = family.running(target, command.pid if command else None, backend.pids)
    found = nursery.current()
    refuser = Refuser(watched, backend.names, [found.pid] if found else [])
    app = TopApp(worker, family.describe(target), choices.view, refuser, note)
    app.stopped = interrupts.stopped
    over = threading.Event()
    threading.Thread(target=_insist, args=(interrupts.stopped, over, command), daemon=True).start()
    app.run()
    over.set()
    if app.failure is not None:
        raise app.failure
    if app.return_code:
        raise IsotraceError("the live table broke", "--once gives the counts without it; please report what is above")


def _insist(stopped: threading.Event, over: threading.Event, command: Command | None) -> None:
    """End isotrace where the table does not end itself after a signal: it may wait for a terminal that is gone."""
    stopped.wait()
    if not over.wait(_LONGEST_END):
        if command:
            _end(command)
        os._exit(_HUNG_UP)


def _end(command: Command) -> None:
    """The command was started to be looked at: it does not outlive the look."""
    if command.poll() is not None:
        return
    say(f"the command (process {command.pid}) is ended")
    command.send(signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE
    while command.poll() is None and time.monotonic() < deadline:
        time.sleep(_TICK)
    if command.poll() is None:
        command.send(signal.SIGKILL)
        command.poll()
