"""The catalogue of hooks says that every call of a row comes to the row's hook: here each is made, in its ways."""

from __future__ import annotations

import errno
import os
import tempfile
from functools import partial
from pathlib import Path

import pytest

from isotrace.catalog import by_name
from isotrace.enforce import Enforced, Guarantees
from isotrace.enforce.hooks import asking, coverage, lsm
from isotrace.enforce.selftest import child
from isotrace.policy.model import CallRule
from isotrace.trace.target import Target
from tests.vm.enforced import need_for
from tests.vm.hook_ways import UNMET, UNMET_AT_TIMES, UNMET_BY_LSM, UNTRIED, WAYS, Things
from tests.vm.plugin import progress

WITHOUT = 38  # ENOSYS: the kernel has no such call
NO_HOOK = 0xFFFF


def test_every_call_of_the_catalogue_has_a_way() -> None:
    native = set(by_name("x86_64"))
    rows = {call for hook in coverage.on_calls() for call in coverage.enforced_at(hook)}
    assert (rows & native) - WAYS.keys() - UNTRIED.keys() == set()
    assert WAYS.keys() <= rows


def unmet_by(mechanism: str) -> dict[tuple[str, int], str]:
    return UNMET | (UNMET_BY_LSM if mechanism == "lsm" else {})


@pytest.mark.parametrize("mechanism", ["lsm", "fmod_ret"])
def test_what_comes_to_no_hook_is_announced(mechanism: str) -> None:
    for (call, _way), words in (unmet_by(mechanism) | UNMET_AT_TIMES).items():
        assert any(words in note for note in coverage.unmet(frozenset({call}), mechanism)), call


@pytest.mark.parametrize("mechanism", ["lsm", "fmod_ret"])
def test_every_way_of_every_call_comes_to_its_hook(mechanism: str, tmp_path: Path) -> None:
    need_for(mechanism)

    def exists(hook: str) -> bool:
        return lsm.by_lsm(hook, mechanism == "lsm") is not None

    calls = frozenset(call for call in WAYS if coverage.enforcing(call, exists) is not None)
    assert len(calls) > 60
    rule = CallRule("all", calls)
    enforced = [Enforced(0, rule, mechanism, Guarantees(True, "closed", True))]
    enforcer = asking.make(enforced, Target(pid=os.getpid()))
    met: dict[tuple[str, int], list[int]] = {}

    def outcomes(ways: list[tuple[str, int]], hook: int) -> list[int]:
        """What the ways come to where that hook alone refuses."""
        with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
            things = Things(Path(directory))
            trials = [partial(WAYS[call][at], things) for call, at in ways]
            return child.ask(trials, partial(enforcer._arm_self_test, hook=hook), things.prepare)

    try:
        enforcer.open(None)
        for number, hook in enumerate(enforcer._hooks, 1):
            progress(f"ways to {hook}")
            ways = [(call, at) for call in sorted(coverage.enforced_at(hook) & calls) for at in range(len(WAYS[call]))]
            found = outcomes(ways, number)
            hidden = [way for way, result in zip(ways, found, strict=True) if result in (errno.EPERM, errno.EACCES)]
            free = dict(zip(hidden, outcomes(hidden, NO_HOOK), strict=True))
            for way, result in zip(ways, found, strict=True):
                # ptrace_may_access() makes a no of every refusal, whatever its errno.
                met.setdefault(way, []).append(child.REFUSED if free.get(way) == 0 else result)
    finally:
        enforcer.close()
    unmet = {way: results for way, results in met.items() if child.REFUSED not in results and WITHOUT not in results}
    assert unmet.keys() - UNMET_AT_TIMES.keys() == unmet_by(mechanism).keys() & met.keys(), unmet
