"""The loop of isotrace block: what fails at showing, reading or looking ends nothing."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from types import SimpleNamespace

import pytest

from isotrace.enforce import Counts
from isotrace.enforce.plan import EnforcementPlan
from isotrace.errors import IsotraceError
from isotrace.run import ending, lifecycle, refusals
from isotrace.run.lifecycle import Run
from isotrace.run.refusals import Refusals
from isotrace.trace.target import Target

ROUNDS = 5


class Enforcer:
    """Has records in every round; ``fails`` names what does not work."""

    def __init__(self, fails=()):
        self.rounds, self.lifted, self.closed, self._fails = 0, False, False, fails

    def starter(self):
        return None

    def open(self, pid):
        assert pid is None

    def _fail(self, name):
        if name in self._fails:
            raise self._fails[name]

    def wait(self, _seconds):
        self.rounds += 1
        self._fail("wait")

    def batches(self):
        self._fail("batches")
        yield ["record"]

    def alive(self):
        self._fail("alive")
        return self.rounds < ROUNDS

    def broken(self):
        return ""

    def lift(self):
        self.lifted = True

    def counts(self):
        return Counts()

    def close(self):
        self.closed = True


class Sink:
    def __init__(self, error=None):
        self._error, self.written = error, 0

    def write(self, _records):
        self.written += 1
        if self._error:
            raise self._error

    def tick(self):
        pass

    def finish(self, _counts):
        pass


@pytest.fixture
def said(monkeypatch):
    lines = deque()
    monkeypatch.setattr(refusals, "tell", lines.extend)
    monkeypatch.setattr(lifecycle, "say", lines.append)
    return lines


@pytest.fixture
def go(monkeypatch):
    """Run until the enforcer says that nobody is left, or it has gone so many rounds and a signal comes."""

    def run(enforcer, sink, *others):
        stopped = threading.Event()
        monkeypatch.setattr(lifecycle, "Interrupts", lambda *_, **__: SimpleNamespace(stopped=stopped))
        monkeypatch.setattr(lifecycle, "raising", contextlib.nullcontext)  # it holds signals back for good
        monkeypatch.setattr(ending, "_LOOK", 0.0)

        def ended(_target, alive):
            if enforcer.rounds >= 2 * ROUNDS:
                stopped.set()
            return None if alive() else "the target ended"

        monkeypatch.setattr(ending, "ended", ended)
        target = Target(tree=1)
        part = Refusals(target, EnforcementPlan((), (), True), {"lsm": enforcer}, sink, best_effort=False)
        assert Run(target, lambda: [part, *others]).go() == 0 and enforcer.lifted and enforcer.closed
        return enforcer.rounds

    return run


@pytest.mark.parametrize("error", [IsotraceError("cannot write"), ValueError("odd"), MemoryError(), OSError(5, "I/O")])
def test_a_sink_that_fails_ends_the_lines_and_is_told_once(go, said, error):
    sink = Sink(error)
    assert go(Enforcer(), sink) == ROUNDS and sink.written == 1
    assert sum("enforcement goes on, without showing it" in line for line in said) == 1


@pytest.mark.parametrize("name", ["batches", "wait"])
@pytest.mark.parametrize("error", [ValueError("odd"), KeyError(7), OSError(12, "no memory"), UnicodeError("odd")])
def test_records_that_cannot_be_read_end_nothing(go, said, name, error):
    assert go(Enforcer({name: error}), Sink()) == ROUNDS
    assert sum("enforcement goes on" in line for line in said) == (name == "batches")


def test_who_cannot_tell_whether_the_target_has_ended_does_not_let_go(go, said):
    assert go(Enforcer({"alive": OSError(12, "no memory")}), Sink()) > ROUNDS
    assert sum("cannot tell whether the target has ended" in line for line in said) == 1


class Other:
    """A part that enforces nothing, and fails where ``fails`` says."""

    enforces, screen = False, None

    def __init__(self, fails):
        self._fails, self.closed, self.finished = fails, False, False

    def _call(self, name):
        if name == self._fails:
            raise IsotraceError("no space left")

    def open(self, _pid):
        pass

    def start(self):
        pass

    def serve(self, _seconds):
        self._call("serve")

    def alive(self):
        return False

    def broken(self):
        return ""

    def expire(self):
        return False

    def stop(self, _reason):
        self._call("stop")

    def unwritten(self, _seconds):
        self._call("unwritten")
        return ""

    def finish(self):
        self.finished = True

    def close(self):
        self.closed = True


@pytest.mark.parametrize("where", ["serve", "stop", "unwritten", ""])
def test_another_part_of_the_run_that_fails_is_left_out_and_ends_nothing(go, said, where):
    other = Other(where)
    assert go(Enforcer(), Sink(), other) == ROUNDS and other.closed
    assert other.finished == (not where), "nothing more is said of it"
    assert said.count("no space left: enforcement goes on without it") == bool(where)


def test_where_nothing_is_held_the_first_failure_ends_the_run(monkeypatch):
    monkeypatch.setattr(lifecycle, "Interrupts", lambda *_, **__: SimpleNamespace(stopped=threading.Event()))
    monkeypatch.setattr(lifecycle, "raising", contextlib.nullcontext)
    monkeypatch.setattr(ending, "ended", lambda _target, _alive: None)
    other = Other("serve")
    with pytest.raises(IsotraceError, match="no space left"):
        Run(Target(tree=1), lambda: [other]).go()
    assert other.closed
