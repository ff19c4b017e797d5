"""One run, whatever it does: a target, perhaps a command, and parts. A verb is a small file that chooses them."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from isotrace.errors import IsotraceError
from isotrace.process import patience, verbose
from isotrace.process.interrupts import ALL_ENDING, LASTING, Interrupts, raising
from isotrace.process.launch import Command
from isotrace.process.telling import say
from isotrace.run.ending import Concerned, Ending
from isotrace.trace import target as targets
from isotrace.trace.target import Target

_TICK = 0.025  # seconds between two looks at what is quiet
_GRACE = 0.5  # seconds that what was seen may take to be written before anything is said of it

#: Asks its first argument again and again why to stop; the second is set by a signal.
Screen = Callable[[Callable[[], str | None], threading.Event], None]


class Part(Concerned, Protocol):
    """Something that a run does to its target. Calls come in the order in which they stand here, serve over and over.

    ``enforces``: it must go on whatever becomes of other parts, until the target has certainly ended. ``screen``:
    what has the main thread while the run goes on, in place of ``serve``: the live table. What most parts have no need of
    does nothing here.
    """

    enforces: bool = False
    screen: Screen | None = None

    def open(self, pid: int | None) -> None:
        """At work in the kernel from now on. ``pid`` is a command that has yet to be started; None for a target that runs.

        isotrace has one thread, and may fork. Raises ``IsotraceError``.
        """

    def start(self) -> None:
        """isotrace may have threads now, and must not fork any more; the command runs next. Raises ``IsotraceError``."""

    def serve(self, seconds: float) -> None:
        """Wait for something to come, ``seconds`` at most, and take it. Raises ``IsotraceError``."""

    def stop(self, reason: str) -> None:
        """No more from now on; show what has come. ``reason`` is why the run ends. Raises ``IsotraceError``."""

    def unwritten(self, seconds: float) -> str:
        """After ``stop``: wait ``seconds`` at most for what is still being shown, and say what is left; "" when all is."""
        return ""

    def finish(self) -> None:
        """Say what came of it; also after something failed."""

    def close(self) -> None:
        """Give everything back. Safe after a failed ``open``."""


class Run:
    """``go`` is all of it. ``make`` gives the parts; the first is the one that is waited for.

    ``quiet``: the reason of the end is nobody's business.
    ``ends_command``: the command was started to be looked at, and does not outlive the look.
    """

    def __init__(
        self,
        target: Target,
        make: Callable[[], Sequence[Part]],
        command: Command | None = None,
        seconds: float | None = None,
        *,
        quiet: bool = False,
        ends_command: bool = False,
    ) -> None:
        self._target, self._make, self._command, self._seconds = target, make, command, seconds
        self._quiet, self._ends_command = quiet, ends_command
        self._parts: list[Part] = []
        self._screen: Screen | None = None
        self._enforces = self._blind = False

    def go(self) -> int:
        """Until the target, the time or the user's patience ends; returns the exit status. Raises ``IsotraceError``."""
        with contextlib.ExitStack() as closing:
            closing.callback(verbose.write_rest)
            self._begin(closing)
            if self._command and self._ends_command:
                closing.callback(self._command.end)
            with contextlib.ExitStack() as finishing:
                for part in reversed(self._parts):
                    finishing.callback(self._finish, part)
                self._until_stopped()
        return self._ending.status

    def _begin(self, closing: contextlib.ExitStack) -> None:
        command = self._command
        if not self._quiet and (limit := targets.unseen(self._target)):
            say(limit)
        try:
            self._parts = list(self._make())
            if waited := self._target.waited:
                from isotrace.run import waiting  # which is a part itself

                missed = "denied" if any(part.enforces for part in self._parts) else "seen"
                self._parts.append(waiting.Waiting(waited, missed, self._quiet))
            for part in self._parts:
                closing.callback(part.close)
            self._enforces = any(part.enforces for part in self._parts)
            self._screen = next((part.screen for part in self._parts if part.screen), None)
            if not self._screen:
                patience.use(say)
            with raising():
                for part in self._parts:
                    part.open(command.pid if command else None)
            # With a table on the screen Ctrl-C is a key, and a signal to isotrace is meant for isotrace.
            forward = command.send if command and not self._screen else None
            shared = self._enforces and command is not None
            self._interrupts = Interrupts(forward, LASTING if self._enforces else ALL_ENDING, shared)
            for part in self._parts:
                part.start()
            if not self._screen:
                verbose.resume()
            if command:
                command.start()
            self._ending = Ending(
                self._target, self._parts, self._interrupts, command, self._seconds, self._enforces, bool(self._screen)
            )
        except BaseException:
            if command:
                command.abandon()
            raise

    def _until_stopped(self) -> None:
        reason = ""
        if self._screen is None:
            reason = self._serve(self._parts, self._look)
        else:
            with self._beside([part for part in self._parts if not part.screen]):
                self._screen(self._ending.reason, self._interrupts.stopped)
        for part in list(self._parts):
            self._guarded(part, partial(part.stop, reason))
        self._write_rest()
        verbose.write_rest()
        left = "" if self._ends_command else self._ending.left()
        if not self._quiet and (reason or left):
            say(reason or left)

    def _finish(self, part: Part) -> None:
        if part in self._parts:  # not one that was left out
            part.finish()

    def _write_rest(self) -> None:
        """Wait for what is still being shown. Where that takes long say so, and let one signal end it."""
        began, told = time.monotonic(), False
        for part in list(self._parts):
            while left := self._guarded(part, partial(part.unwritten, _TICK)):
                if told or time.monotonic() < began + _GRACE:
                    continue
                told = True
                again = "again " if self._interrupts.stopped.is_set() else ""
                self._interrupts.insist()
                say(
                    f"writing {left}; {f'kill {os.getpid()}' if self._enforces else f'Ctrl-C {again}'.rstrip()} drops them"
                )

    def _serve(self, parts: Sequence[Part], ended: Callable[[], str | None]) -> str:
        while (reason := ended()) is None:
            for part in list(parts):
                self._guarded(part, partial(part.serve, _TICK if part is parts[0] else 0.0))
        return reason

    def _guarded(self, part: Part, call: Callable[[], str | None]) -> str:
        """Where something is enforced, another part that fails is left out from then on."""
        try:
            return call() or ""
        except Exception as error:
            if part.enforces or not self._enforces:
                raise
            why = error.message if isinstance(error, IsotraceError) else repr(error)
            say(f"{why}: enforcement goes on without it")
            self._parts.remove(part)
            return ""

    def _look(self) -> str | None:
        """Why to stop. A failed look is no reason where something is enforced: isotrace lets go only when it knows."""
        try:
            return self._ending.reason()
        except Exception as error:
            if not self._enforces:
                raise
            if not self._blind:
                say(f"cannot tell whether the target has ended ({error!r}): enforcement goes on")
            self._blind = True
            time.sleep(_TICK)
            return None

    @contextlib.contextmanager
    def _beside(self, parts: Sequence[Part]) -> Iterator[None]:
        """Serve these in a thread meanwhile; what fails there is raised at the end."""
        over = threading.Event()
        failed: list[BaseException] = []

        def serve() -> None:
            try:
                self._serve(parts, lambda: "" if over.is_set() else None)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=serve, name="parts")
        if parts:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if parts:
                thread.join()
        if failed:
            raise failed[0]
