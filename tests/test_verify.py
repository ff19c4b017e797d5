"""What --verify makes of what its child finds; the mechanisms are stood in for."""

from __future__ import annotations

import errno

import pytest

from isotrace.enforce import Enforced, Guarantees
from isotrace.errors import KernelError
from isotrace.policy import names
from isotrace.verify import by_call, run
from isotrace.verify.ways import ALL, Way

ENFORCED = Enforced(0, names.parse("open"), "lsm", Guarantees(True, "judged", True))
OPEN = Way("a way", "path", lambda on: None)
CLOSED = Way("no way", "path", lambda on: (_ for _ in ()).throw(OSError(errno.ENOSYS, "")))


class Lax:
    """An enforcer that refuses nothing."""

    def __init__(self):
        self.opened = []

    def open(self, pid):
        self.opened.append(pid)

    def close(self):
        self.opened.append("closed")


class Failing(Lax):
    """One that cannot be opened."""

    def open(self, pid):
        raise KernelError("it does not load")


@pytest.fixture
def mechanism(monkeypatch):
    def use(enforcer):
        monkeypatch.setattr(run.registry, "make", lambda name, enforced, target: enforcer)
        return enforcer

    return use


def test_what_gets_through_under_the_rules_is_told_from_what_never_works(mechanism):
    enforcer = mechanism(Lax())
    found = run._tried([OPEN, CLOSED], lambda on: [ENFORCED])
    assert (found.through, found.absent, found.refused) == (["a way"], ["no way"], [])
    assert found.lines() == ["verify: no way on this kernel: no way", "verify: NOT DENIED: a way"]
    assert enforcer.opened == [None, "closed"]


def test_a_way_that_fails_under_the_rules_only_is_refused(mechanism, monkeypatch):
    mechanism(Lax())
    answers = iter(([0, 0], [errno.EUCLEAN, 0]))
    monkeypatch.setattr(run.child, "ask", lambda trials, arm, prepare=None: next(answers))
    found = run._tried([OPEN, Way("another", "path", OPEN.tried)], lambda on: [ENFORCED])
    assert (found.refused, found.through) == (["a way"], ["another"])


def test_32_bit_calls_that_the_guarantees_leave_open_are_announced(mechanism):
    mechanism(Lax())
    compat = Way("by int 0x80", "path", lambda on: None, compat=True)
    weaker = Enforced(0, ENFORCED.rule, "lsm", Guarantees(True, "judged", False))
    found = run._tried([compat], lambda on: [weaker])
    assert (found.announced, found.through) == (["by int 0x80"], [])


def test_rules_that_do_not_load_are_an_error_and_nothing_is_left(mechanism):
    enforcer = mechanism(Failing())
    with pytest.raises(KernelError, match="it does not load"):
        run._tried([OPEN], lambda on: [ENFORCED])
    assert enforcer.opened == ["closed"]


def test_a_child_that_does_not_come_to_its_end_is_an_error(mechanism, monkeypatch):
    mechanism(Lax())
    answers = iter(([0], [run.child.UNKNOWN]))
    monkeypatch.setattr(run.child, "ask", lambda trials, arm, prepare=None: next(answers))
    with pytest.raises(KernelError, match="did not come to an end with: a way"):
        run._tried([OPEN], lambda on: [ENFORCED])


def test_ways_have_names_of_their_own_and_calls_only_those_that_are_refused():
    assert len({way.name for way in ALL}) == len(ALL)
    assert {way.name for way in by_call.for_calls(names.parse("open").calls)} >= {
        "open",
        "open by int 0x80",
        "io_uring",
    }
    assert not by_call.for_calls(frozenset({"openat"}))
    assert [way.name for way in by_call.for_calls(names.parse("mkdir").calls)] == ["mkdir(2)"]
