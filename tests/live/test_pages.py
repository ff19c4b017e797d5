"""What the documentation shows of isotrace at work is what happens: its console blocks, one by one (tests/shown.py)."""

from __future__ import annotations

import shutil
from pathlib import Path

import console
import pytest
import shown

from isotrace.enforce.calls import notify
from isotrace.kernel import features, landlock

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("unshare", "mount", "ip"))), reason="needs unshare: and mount, and ip of iproute2"
)
by_seccomp = pytest.mark.skipif(
    notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"
)
by_landlock = pytest.mark.skipif(landlock.abi() < 4, reason=f"needs landlock of ABI 4: {landlock.abi()}")
not_by_hooks = pytest.mark.skipif(
    any(one.verdict == "yes" for one in map(features.check, ("lsm_bpf", "fmod_ret_security"))),
    reason="needs locked_down: the security hooks take BPF here, and the pages show what enforces where they do not",
)
on_a_terminal = pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux: to press keys and read the screen")


def _name(block: console.Block) -> str:
    return f"{block.page}: {block.begins}"


@pytest.mark.parametrize(
    "block",
    [*shown.TRACED, *(pytest.param(one, marks=(by_seccomp, by_landlock, not_by_hooks)) for one in shown.REFUSED)],
    ids=_name,
)
def test_a_block_of_a_page(block: console.Block, tmp_path: Path) -> None:
    for program in block.needs:
        if not shutil.which(program):
            pytest.skip(f"needs {program}: the page runs it")
    console.run_block(block, tmp_path)


@by_seccomp
@not_by_hooks
@on_a_terminal
def test_a_person_is_asked(tmp_path: Path) -> None:
    console.answer(shown.ASKED, tmp_path)


@by_seccomp
@not_by_hooks
def test_somebody_elsewhere_answers(tmp_path: Path) -> None:
    console.run_block(shown.ELSEWHERE, tmp_path)


@on_a_terminal
def test_the_live_table(tmp_path: Path) -> None:
    console.look(shown.WATCHED, tmp_path, 100, 24)
