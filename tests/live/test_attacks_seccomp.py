"""Attacks of the table that do no harm where they get through, by seccomp, on this kernel and without privileges."""

from __future__ import annotations

import shutil

import pytest

from isotrace.enforce.calls import notify
from tests.vm.attacks import Announced, Refused, runs
from tests.vm.attacks.rows import ROWS

pytestmark = [
    pytest.mark.skipif(notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc: the attacks are C"),
]


@pytest.mark.parametrize("row", [row for row in ROWS if row.live], ids=lambda row: row.name)
def test_an_attack_is_refused_or_announced(row):
    free = runs.control([row])[row.name]
    if free.what == "untried":
        return  # this kernel has not what it needs
    assert free.what == "through", free
    outcome, expected = runs.as_command("seccomp", row), row.expect["seccomp"]
    assert isinstance(expected, Refused | Announced)
    assert outcome.what == ("refused" if isinstance(expected, Refused) else "through"), outcome
    assert not isinstance(expected, Announced) or expected.words in outcome.said
