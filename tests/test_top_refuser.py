"""Refusing from the table without a kernel: the thread between the keys and the enforcers, with enforcers made by hand."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Iterator

import pytest

from isotrace.enforce import Counts, Refused
from isotrace.enforce.findings import Found
from isotrace.errors import IsotraceError, KernelError
from isotrace.process import forkserver
from isotrace.top import family, findings, refuser
from isotrace.top.model import GROUPS, Process
from isotrace.top.refuser import Refuser
from isotrace.top.refusing import Proposal, Status, Wanted
from isotrace.trace.target import Target

CAN = dict.fromkeys(("lsm_bpf", "unpreempted", "io_threads"), Found("yes", "tried"))
CANNOT = CAN | {"lsm_bpf": Found("no", "bpf is not active")}
NO_TIME = 30  # seconds that nothing here takes


class Enforced:
    """An enforcer that refuses when a test says so."""

    def __init__(self, held, target) -> None:
        self.held, self.target = held, target
        self.did, self.hits, self.records = [], 0, []
        self.living, self.failure, self.lost = True, None, ""
        self.gate = None

    def open(self, pid) -> None:
        assert pid is None
        self.did.append("open")
        if self.gate:
            self.gate.wait(NO_TIME)
        if self.failure:
            raise self.failure

    def meet(self, times, path="/etc/passwd") -> None:
        self.hits += times
        self.records += [Refused(0, 10, 10, b"cat", "openat", "x86_64", (0,) * 6, 0, path)] * times

    def batches(self) -> Iterator[list[Refused]]:
        found, self.records = self.records, []
        yield found

    def counts(self) -> Counts:
        return Counts({0: self.hits}, {0: self.hits}, missed=2)

    def alive(self) -> bool:
        return self.living

    def broken(self) -> str:
        return self.lost

    def lift(self) -> None:
        self.did.append("lift")

    def close(self) -> None:
        self.did.append("close")


class Desk:
    """A refuser, its answers, and the enforcers that it made."""

    def __init__(self, target, features=CAN) -> None:
        self.made: list[Enforced] = []
        self.prepare = lambda enforced: None
        self.answers: queue.Queue = queue.Queue()
        self.refuser = Refuser(target, dict, ask=lambda _rule: features, make=self._make)
        self.refuser.begin(self.answers.put)

    def _make(self, mechanism, held, target):
        enforced = Enforced(held, target)
        self.prepare(enforced)
        self.made.append(enforced)
        return enforced

    def told(self, wanted=lambda answer: True):
        """The next answer that is ``wanted``."""
        while True:
            answer = self.answers.get(timeout=NO_TIME)
            if wanted(answer):
                return answer

    def noted(self) -> Status:
        return self.told(lambda answer: isinstance(answer, Status) and answer.note)

    def refuse(self, wanted) -> Status:
        self.refuser.refuse(Proposal(wanted))
        return self.noted()


@pytest.fixture
def child():
    with subprocess.Popen(["sleep", "1000"]) as found:
        yield found
        found.kill()


@pytest.fixture
def desk(child):
    found = Desk(Target(pid=child.pid))
    yield found
    found.refuser.finish()


WHOLE = Wanted("openat", None, "--pid 1")


def test_a_proposal_names_mechanism_guarantees_and_what_stays_allowed(desk):
    desk.refuser.explain(WHOLE)
    proposal = desk.told()
    text = "\n".join(proposal.lines)
    assert proposal.possible and "to --pid 1: 1 process now" in text
    assert "deny openat → EPERM: lsm · TOCTOU-safe yes · io_uring closed · 32-bit yes" in text
    assert "not denied, though alike: creat, open, open_by_handle_at, openat2" in text
    assert not desk.made, "a proposal refuses nothing"


@pytest.mark.parametrize("call", ["connect", "open", "kill"])
def test_a_call_that_is_also_a_word_is_the_call_alone(call):
    assert refuser.rule_on(call).calls == {call} and not refuser.rule_on(call).addressed


def test_where_the_kernel_cannot(child):
    desk = Desk(Target(pid=child.pid), CANNOT)
    desk.refuser.explain(WHOLE)
    proposal = desk.told()
    assert "openat cannot be denied here: lsm: no lsm_bpf: bpf is not active" in proposal.why
    assert any("bpf is not active" in line for line in proposal.lines)
    assert any("NOT ENFORCEABLE" in line for line in proposal.details)
    assert "cannot be denied here" in desk.refuse(WHOLE).note and not desk.made
    desk.refuser.finish()


def test_calls_that_nothing_can_refuse(desk):
    desk.refuser.explain(Wanted("exit_group", None, "all"))
    assert "exit_group cannot be denied" in desk.told().why


def test_refusing_counting_lifting(desk, child):
    desk.refuser.refuse(Proposal(WHOLE))
    assert "being compiled" in desk.told().doing
    status = desk.noted()
    assert "openat is denied to --pid 1 by lsm" in status.note and status.refusals[0].hits == 0
    (enforced,) = desk.made
    assert (enforced.target.pid, enforced.target.command) == ((child.pid,), ())
    enforced.meet(3)
    seen = desk.told(lambda answer: answer.refusals and answer.refusals[0].hits)
    assert (seen.refusals[0].hits, seen.refusals[0].latest, seen.refusals[0].unjudged) == (3, "cat 10 /etc/passwd", 2)
    assert not enforced.records, "records are read, so that the ring stays empty"
    enforced.meet(2)
    desk.refuser.lift(status.refusals[0].number)
    done = desk.noted()
    assert "openat works again for --pid 1; it was denied 5 times" in done.note and not done.refusals
    assert enforced.did == ["open", "lift", "close"]
    desk.refuser.lift(1)
    assert "not denied any more" in desk.noted().note


def test_what_a_refused_program_wrote_is_harmless(desk):
    desk.refuse(WHOLE)
    desk.made[0].meet(1, "/tmp/\x1b[2J\udcff")
    seen = desk.told(lambda answer: answer.refusals and answer.refusals[0].hits)
    assert seen.refusals[0].latest.isprintable() and "\\x1b[2J" in seen.refusals[0].latest


def test_the_same_is_refused_once(desk):
    desk.refuse(WHOLE)
    assert "already denied" in desk.refuse(WHOLE).note and len(desk.made) == 1
    assert len(desk.refuse(Wanted("connect", None, "--pid 1")).refusals) == 2


def test_an_opening_that_fails_refuses_nothing_and_says_so(desk):
    def fail(enforced):
        enforced.failure = KernelError("cannot attach to the hook: no memory", "see: isotrace doctor")

    desk.prepare = fail
    status = desk.refuse(WHOLE)
    assert "cannot attach to the hook" in status.note and not status.refusals
    assert desk.made[0].did == ["open", "close"]
    desk.prepare = lambda enforced: setattr(enforced, "failure", OSError(12, "Cannot allocate memory"))
    assert "Cannot allocate memory" in desk.refuse(WHOLE).note


def test_a_bug_is_kept_for_whoever_draws_and_lifts_all(desk):
    desk.refuse(WHOLE)
    desk.made[0].counts = lambda: 1 / 0
    desk.refuser._thread.join(NO_TIME)
    assert isinstance(desk.refuser.failure, ZeroDivisionError) and desk.made[0].did[-1] == "close"


def test_leaving_lifts_all_also_what_is_just_being_opened(desk):
    desk.refuse(WHOLE)
    gate = threading.Event()
    desk.prepare = lambda enforced: setattr(enforced, "gate", gate)
    desk.refuser.refuse(Proposal(Wanted("connect", None, "--pid 1")))
    desk.told(lambda answer: answer.doing)
    threading.Timer(0.2, gate.set).start()
    desk.refuser.finish()
    assert [enforced.did[-1] for enforced in desk.made] == ["close", "close"]


def test_when_its_processes_have_ended_it_is_lifted(desk, child):
    desk.refuse(WHOLE)
    child.kill()
    child.wait()
    status = desk.noted()
    assert f"process {child.pid} ended" in status.note and status.refusals[0].ended
    assert desk.made[0].did == ["open", "lift", "close"]
    desk.refuser.explain(WHOLE)
    assert "its processes have ended" in desk.told(lambda answer: isinstance(answer, Proposal)).why
    desk.refuser.lift(1)
    assert not desk.noted().refusals


# ---- whom it concerns ---------------------------------------------------------------------------------------------


def test_a_process_means_its_descendants_and_who_was_one(desk, child):
    with subprocess.Popen(["sleep", "1000"]) as orphan:
        desk.refuser.view_state.processes = {
            child.pid: Process(child.pid, "sleep", 1),
            GROUPS: Process(GROUPS, "sh", child.pid, 2),
            orphan.pid: Process(orphan.pid, "sleep", GROUPS),
        }
        desk.refuser.explain(Wanted("openat", child.pid, "it"))
        assert desk.told().lines[0] == "to it: 2 processes now"
        desk.refuse(Wanted("openat", child.pid, "it"))
        target = desk.made[0].target
        assert target.tree == (child.pid,) and set(target.known()) == {child.pid, orphan.pid}
        orphan.kill()


def test_who_was_born_since_the_table_was_drawn_belongs_to_it_as_well():
    processes = {10: Process(10, "sh", 1), 11: Process(11, "other", 1)}
    assert family.below(10, processes, {12: (b"", 10), 13: (b"", 12), 14: (b"", 11)}) == {10, 12, 13}


@pytest.mark.parametrize("conditions", [{"tree": 1}, {"pid": 1}, {"uid": os.getuid()}, {"tree": os.getppid()}])
def test_isotrace_its_terminal_and_init_are_never_refused_anything(conditions):
    desk = Desk(Target(**conditions))
    desk.refuser.explain(WHOLE)
    why = desk.told().why
    assert "is among them: process 1 is never" in why or "is among them: isotrace itself" in why
    assert "is among them" in desk.refuse(WHOLE).note and not desk.made
    desk.refuser.finish()


def test_and_are_spared_by_the_kernel_program_too(desk):
    desk.refuse(WHOLE)
    assert {1, os.getpid(), os.getppid()} <= desk.made[0].target.spared
    assert any(line.startswith("SPARED(pid)=((pid)==1||") for line in desk.made[0].target.defines())


def test_a_command_is_a_tree_of_processes():
    target = family.running(Target(command=("make",), uid=5), 77, lambda: {78})
    assert (target.tree, target.command, target.uid, set(target.known())) == ((77,), (), 5, {78})
    assert family.running(Target(comm="x"), None, set).known is None


# ---- the fork server --------------------------------------------------------------------------------------------------


@pytest.fixture
def nest(monkeypatch):
    found = forkserver.ForkServer()
    monkeypatch.setattr(forkserver, "_current", found)
    yield found
    found.close()


def test_the_kernel_is_asked_by_a_child_of_the_fork_server(nest):
    found = findings.ask(refuser.rule_on("getppid"))
    assert found["seccomp"].verdict in ("yes", "no", "unknown") and found["seccomp"].why
    with pytest.raises(KeyError):
        found["flying"]


def tell_about_yourself(fd):
    """A task for the fork server's child: who is your parent, and what files have you open?"""
    files = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    with os.fdopen(fd, "w") as stream:
        stream.write("\n".join([str(os.getppid()), *files]))


def test_a_child_of_the_fork_server_keeps_no_descriptor_of_ours(nest, tmp_path):
    told, tell = os.pipe()
    with (tmp_path / "ours").open("w"):
        nest.spawn(f"{__name__}:tell_about_yourself", (tell,))
        os.close(tell)
        with os.fdopen(told) as stream:
            parent, *files = stream.read().split("\n")
    assert int(parent) == nest.pid
    assert files and not [name for name in files if name.endswith("/ours")]


def test_a_fork_server_that_is_gone_is_an_error_in_a_line(monkeypatch):
    found = forkserver.ForkServer()
    monkeypatch.setattr(forkserver, "_current", found)
    os.kill(found.pid, 9)
    os.waitpid(found.pid, 0)
    with pytest.raises(IsotraceError) as error:
        findings.ask(refuser.rule_on("getppid"))
    assert "\n" not in error.value.message
