"""Attacks of the table on rules on paths and addresses, by Landlock, on this kernel and without privileges."""

from __future__ import annotations

import shutil

import pytest

from isotrace.enforce.calls import notify
from isotrace.kernel import landlock
from tests.vm.attacks import runs
from tests.vm.attacks.rows import ROWS

pytestmark = [
    pytest.mark.skipif(landlock.abi() < 4, reason=f"needs landlock of ABI 4: {landlock.abi()}"),
    pytest.mark.skipif(notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc: the attacks are C"),
]

#: What gets through, and what the plan says of it.
ANNOUNCED = {"a descriptor that somebody else sends": "or is received, goes on being used"}


def _fits(row):
    """On files or addresses by an ordinary user, with nothing that root does meanwhile, and that what Landlock holds."""
    on = [word for word in row.rules if not word.startswith("--")]
    options = {word for word in row.rules if word.startswith("--")}
    held = all("**/" not in word and not word.startswith(("x:", "tcp:", "udp:", "any:127")) for word in on)
    return (
        options <= {"--deny-path", "--allow-path", "--deny-net"}
        and held
        and (row.user, row.how, row.ready, row.meanwhile, row.needs) == ("nobody", "tree", False, "", ())
        and "mount" not in row.setup
        and row.kind not in ("ends", "guard")
    )


@pytest.mark.parametrize("row", [row for row in ROWS if _fits(row)], ids=lambda row: row.name)
def test_an_attack_is_refused_or_announced(row):
    outcome = runs.as_command("landlock", row)
    if outcome.what == "untried":
        return  # this kernel has not what it needs
    assert outcome.what == ("through" if row.name in ANNOUNCED else "refused"), outcome
    assert ANNOUNCED.get(row.name, "") in outcome.said
    assert "landlock" in outcome.said, "it is Landlock that holds the rule"
