"""What consoles recorded from guests, and what was heard from them, say of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vm.bench.link import Link
from tests.vm.bench.verdict import Ending, judge

CONSOLES = Path(__file__).parent / "consoles"
CLEAN = (CONSOLES / "quiet-6.12.txt").read_text()


def heard(*messages: dict[str, object]) -> Link:
    """A link on which these messages arrived."""
    link = Link()
    for number, message in enumerate(messages):
        link.feed(json.dumps({"n": number, **message}).encode() + b"\n")
    return link


UP = {"up": 4.0, "release": "6.12"}
PASSED = {"test": "t.py::a", "outcome": "passed", "seconds": 1, "text": ""}
DONE = {"exit": 0, "tainted": 0}


def test_only_a_quiet_guest_with_status_0_is_believed() -> None:
    assert judge(CLEAN, heard(UP, PASSED, DONE), Ending.STOPPED).problem == ""


@pytest.mark.parametrize(
    ("console", "problem"),
    [
        ("panic-5.10.txt", "panic: Kernel panic - not syncing: sysrq triggered crash"),
        ("oops-6.1.txt", "oops: BUG: kernel NULL pointer dereference, address: 0000000000000008"),
        ("oops-7.3.txt", "oops: BUG: kernel NULL pointer dereference, address: 0000000000000008"),
        ("warn-6.1.txt", "warning splat: WARNING: CPU: 0 PID: 118 at bad.c:2 hi+0x11/0x1000 [bad]"),
        ("warn-7.3.txt", "warning splat: WARNING: bad.c:2 at hi+0x10/0xff0 [bad], CPU#0: busybox/120"),
        ("stall-6.1.txt", "rcu stall: rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"),
    ],
)
def test_a_recorded_console_is_a_failure_even_with_status_0(console: str, problem: str) -> None:
    text = (CONSOLES / console).read_text()
    verdict = judge(text, heard(UP, PASSED, DONE), Ending.STOPPED)
    assert verdict.problem == problem
    assert problem.split(": ", 1)[1] in verdict.tail


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("[   52.1] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [python3:118]", "soft lockup"),
        ("[   52.1] watchdog: Watchdog detected hard LOCKUP on cpu 0", "hard lockup"),
        ("[  243.1] INFO: task python3:118 blocked for more than 120 seconds.", "hung task"),
        ("[   26.7] rcu: INFO: rcu_sched self-detected stall on CPU", "rcu stall"),
        ("[   26.7] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-...D }", "rcu stall"),
        ("[    9.1] BUG: unable to handle page fault for address: ffffffffc02f3fe7", "oops"),
        ("[    9.1] kernel BUG at mm/slub.c:435!", "oops"),
        ("[    9.1] general protection fault, probably for non-canonical address 0xdead: 0000 [#1]", "oops"),
        ("[    9.1] BUG: sleeping function called from invalid context at mm/slab.h:421", "bug"),
        ("[    9.1][  T118] BUG: scheduling while atomic: python3/118/0x00000002", "bug"),
        ("[    9.1] WARNING: possible circular locking dependency detected", "warning splat"),
        ("[    9.1] UBSAN: array-index-out-of-bounds in kernel/x.c:1:2", "bug"),
        ("isotrace-init: cannot mount the host's root by 9p", "init failure"),
    ],
)
def test_a_line_of_trouble_is_known(line: str, kind: str) -> None:
    problem = judge(f"{CLEAN}{line}\n", heard(UP, DONE), Ending.STOPPED).problem
    assert problem.startswith(f"{kind}: ")


def test_the_worst_of_several_troubles_leads() -> None:
    text = (CONSOLES / "warn-6.1.txt").read_text() + (CONSOLES / "panic-5.10.txt").read_text()
    problem = judge(text, heard(UP), Ending.STOPPED).problem
    assert problem == "panic: Kernel panic - not syncing: sysrq triggered crash (also warning splat)"


def test_the_test_that_ran_when_the_kernel_died_is_named() -> None:
    text = (CONSOLES / "panic-5.10.txt").read_text()
    verdict = judge(text, heard(UP, PASSED, {"start": "t.py::crash"}), Ending.STOPPED)
    assert verdict.problem.endswith("sysrq triggered crash, in t.py::crash")


@pytest.mark.parametrize(
    ("ending", "messages", "problem"),
    [
        (Ending.NO_BOOT, (), "hang at boot"),
        (Ending.SILENT, (UP,), "hang: the guest fell silent"),
        (Ending.OVERTIME, (UP,), "hang: the guest was not done in time"),
        (Ending.STOPPED, (), "the guest stopped before it came up"),
        (Ending.STOPPED, (UP, PASSED), "the guest ended without a status"),
        (
            Ending.STOPPED,
            (UP, PASSED, {"exit": 0, "tainted": 1 << 9 | 1 << 12}),
            "the kernel is tainted: warning",
        ),
        (Ending.STOPPED, (UP, {"exit": 3, "tainted": 0}), "the command ended with status 3"),
        (Ending.STOPPED, (UP, PASSED, {**PASSED, "outcome": "failed"}, DONE), "1 of 1 tests failed"),
    ],
)
def test_without_trouble_on_the_console_the_ending_decides(
    ending: Ending, messages: tuple[dict[str, object], ...], problem: str
) -> None:
    assert judge(CLEAN, heard(*messages), ending).problem.startswith(problem)


def test_out_of_tree_modules_are_no_trouble() -> None:
    assert judge(CLEAN, heard(UP, {"exit": 0, "tainted": 1 << 12 | 1 << 13}), Ending.STOPPED).problem == ""


def test_a_hang_shows_the_end_of_the_console() -> None:
    console = "".join(f"[ {number}.0] line {number}\n" for number in range(100))
    tail = judge(console, heard(UP), Ending.SILENT).tail
    assert "line 99" in tail and "line 50" not in tail


def test_the_tail_has_nothing_that_a_terminal_obeys() -> None:
    tail = judge(
        "[ 1.0] \x1b[2J\x07 Kernel panic - not syncing: \x1b]0;x\x07\n", heard(UP), Ending.STOPPED
    ).tail
    assert "Kernel panic" in tail and tail.isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b'{"n": 0, "up": 1, "release": "x"}\n{"n": 2, "exit": 0, "tainted": 0}\n',
        b'{"n": 0, "up": 1, "release": "x"}\ngarbage\n{"n": 1, "exit": 0, "tainted": 0}\n',
        b'{"n": 0, "up": 1, "release": "x"}\n[1]\n{"n": 1, "exit": 0, "tainted": 0}\n',
    ],
)
def test_a_link_that_lost_something_is_not_believed(data: bytes) -> None:
    link = Link()
    link.feed(data)
    assert link.exit == 0
    assert judge(CLEAN, link, Ending.STOPPED).problem.startswith("the link to the guest is damaged")


def test_messages_may_arrive_in_pieces() -> None:
    link = Link()
    for byte in b'{"n": 0, "up": 1.5, "release": "x"}\n{"n": 1, "out": "h\\u00e9"}\n':
        link.feed(bytes([byte]))
    assert (link.up, link.output, link.damage) == (1.5, "hé", "")


def test_a_failure_at_the_end_of_a_test_outweighs_its_pass() -> None:
    link = heard(UP, PASSED, {**PASSED, "outcome": "failed"}, PASSED)
    assert (link.count("passed"), link.count("failed")) == (0, 1)
