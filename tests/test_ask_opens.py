"""Asking about opens by fanotify: what is marked, what an open asks for, what rules say of it, and how well, purely."""

from __future__ import annotations

import errno
import marshal
import os
from dataclasses import dataclass
from unittest import mock

import pytest

from isotrace.enforce import Enforced, Guarantees, describe, plan
from isotrace.enforce.mechanisms import FEATURES
from isotrace.enforce.opens import opened
from isotrace.enforce.opens.judge import Judge
from isotrace.enforce.opens.marks import Names
from isotrace.enforce.opens.places import Place, place
from isotrace.enforce.opens.warden import Warden
from isotrace.kernel import fanotify
from isotrace.policy import Action, Group, Policy, names, nets, paths, patterns
from isotrace.trace.target import Target

ASK = Action("ask")


@dataclass(frozen=True)
class Fake:
    verdict: str
    why: str = "as was tried"
    remedy: str = ""


def made(*rules, there=("fanotify",), target=None, best_effort=False, backend="auto"):
    findings = {name: Fake("yes" if name in there else "no") for name in FEATURES}
    return plan.make(Policy((Group("", rules),)), findings, target or Target(tree=7), backend, best_effort)


def asking(text, action=ASK):
    return paths.parse(text, allow=False, action=action)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/d/f", Place("/d/f")),
        ("/d/*", Place("/d", children=True)),
        ("/d/*.pem", Place("/d", children=True)),
        ("/d/", Place("/d", children=True, deeper=True)),
        ("/d/**", Place("/d", children=True, deeper=True)),
        ("/*", Place("/", children=True)),
        ("/home/*/.ssh/**", None),
        ("/**/key", None),
        ("/d/*/**", None),
    ],
)
def test_what_is_marked_for_a_pattern(pattern, found):
    assert place(patterns.parse(pattern)) == found


class TestPlan:
    def test_reading_what_is_named_literally_is_asked_about_where_nothing_else_can(self):
        (one,) = made(asking("r:/d/f")).enforced
        assert one.mechanism == "fanotify" and one.guarantees.short == ()
        assert one.guarantees.waits == "thread" and one.guarantees.orphaned.startswith("denied")
        assert one.guarantees.io_uring == "judged" and one.guarantees.toctou_safe

    @pytest.mark.parametrize(
        ("rule", "says"),
        [
            ("r:/d/**", "only what is in /d itself"),
            ("r:/d/*", "files in /d are covered only there: one that has a hard link elsewhere"),
            ("r:/d/*.pem", "files in /d are covered only there"),
            ("w:/d/f", "of writing only opens: removing, renaming"),
            ("x:/d/f", "of executing only execve"),
        ],
    )
    def test_what_it_does_not_meet_is_less_than_asked(self, rule, says):
        refused = made(asking(rule))
        assert not refused.ok and not refused.enforced
        accepted = made(asking(rule), best_effort=True)
        text = "\n".join(describe.plan_lines(accepted))
        assert accepted.ok and f"LESS THAN ASKED: {says}" in text
        assert says in "\n".join(describe.plan_lines(refused)) and "--best-effort" in str(refused.unenforceable)

    def test_another_error_than_eperm_and_a_rule_that_refuses_are_less_than_asked(self):
        for rule in (asking("r:/d/f", Action("ask", errno=13)), asking("r:/d/f", Action())):
            found = made(asking("r:/d/g"), rule, best_effort=True).enforced
            assert [bool(one.guarantees.short) for one in found] == [False, True]

    @pytest.mark.parametrize(
        "rule", [names.parse("connect", action=ASK), nets.parse("any:", allow=False, action=ASK), asking("r:/a/*/b")]
    )
    def test_what_it_cannot_is_not_enforceable(self, rule):
        found = made(rule, best_effort=True)
        assert not found.ok and "fanotify" in dict(found.unenforceable[0].reasons)

    def test_what_is_better_comes_first_and_without_a_question_it_is_none(self):
        command = Target(command=("true",))
        seccomp = ("fanotify", "seccomp", "seccomp_notify")
        assert made(asking("r:/d/f"), there=seccomp, target=command).enforced[0].mechanism == "seccomp"
        assert (
            made(asking("r:/d/f"), there=("fanotify", "lsm_bpf", "unpreempted", "io_threads", "perf_events"))
            .enforced[0]
            .mechanism
            == "lsm"
        )
        assert (
            made(asking("r:/d/f"), there=seccomp, target=command, backend="fanotify").enforced[0].mechanism
            == "fanotify"
        )
        denied = made(asking("r:/d/f", Action()), best_effort=True)
        assert not denied.ok and "fanotify" not in dict(denied.unenforceable[0].reasons)

    def test_without_the_feature_it_says_what_would_help(self):
        assert not made(asking("r:/d/f"), there=()).ok


def judge(*rules):
    guarantees = Guarantees(True, "judged", True)
    return Judge([Enforced(number, rule, "fanotify", guarantees) for number, rule in enumerate(rules)])


class TestJudge:
    ASKED, SHUT, FREE = asking("r:/d/*"), asking("r:/d/shut", Action()), paths.parse("r:/d/free", allow=True)

    @pytest.mark.parametrize(
        ("found", "access", "rule", "what"),
        [
            (("/d/key",), "r", 0, "/d/key"),
            (("/d/key",), "rw", 0, "/d/key"),
            (("/d/key",), "w", None, ""),
            (("/d/key",), "", None, ""),
            (("/d/shut",), "r", 1, "/d/shut"),
            (("/d/free",), "r", None, ""),
            (("/elsewhere",), "r", None, ""),
            (("/elsewhere", "/d/key"), "r", 0, "/d/key"),
            (("/d/free", "/d/key"), "r", 0, "/d/key"),
            (("/d/key", "/d/shut"), "r", 1, "/d/shut"),
        ],
    )
    def test_the_strictest_rule_on_any_of_its_names(self, found, access, rule, what):
        judged = judge(self.ASKED, self.SHUT, self.FREE).judge(Names(found, True), access)
        assert (judged and judged.rule, judged.what if judged else "") == (rule, what)

    def test_a_file_whose_name_is_not_known_meets_every_rule_on_what_is_done_to_it(self):
        found = judge(self.ASKED, self.SHUT, self.FREE)
        assert found.judge(Names(("/gone (deleted)",), False), "r").rule == 1
        assert found.judge(Names(("/gone (deleted)",), False), "w") is None


def test_an_event_that_cannot_be_read_ends_nothing_and_a_group_that_is_gone_does():
    warden = Warden(-1, mock.Mock(), judge(), mock.Mock(), lambda pid: True)
    with mock.patch.object(fanotify, "events", side_effect=OSError(errno.ENXIO, "")):
        assert warden._events() == []
    with mock.patch.object(fanotify, "events", side_effect=OSError(errno.EBADF, "")), pytest.raises(OSError):
        warden._events()


def test_an_event_that_cannot_be_judged_lets_bystanders_go_on_and_nobody_else():
    for concerned, allowed in ((lambda pid: False, True), (lambda pid: True, False)):
        said = []
        marks = mock.Mock(names=mock.Mock(side_effect=RuntimeError))
        warden = Warden(-1, mock.Mock(), judge(asking("r:/d/*")), marks, concerned)
        with mock.patch.object(fanotify, "answer", lambda group, event, allow, said=said: said.append(allow)):
            warden._take(fanotify.Event(os.getpid(), fanotify.OPEN, 0))
        assert said == [allowed]


def test_what_comes_while_too_many_wait_gets_the_default():
    said = []
    marks = mock.Mock(names=mock.Mock(return_value=Names(("/d/key",), True)))
    warden = Warden(-1, mock.Mock(), judge(asking("r:/d/*")), marks, lambda pid: True)
    warden._room = 2
    with (
        mock.patch.object(fanotify, "answer", lambda group, event, allow: said.append(allow)),
        mock.patch("isotrace.enforce.opens.warden.opened", return_value=opened.Opened("open", "x86_64", (), "r")),
    ):
        for number in range(5):
            warden._take(fanotify.Event(os.getpid(), fanotify.OPEN, number))
    assert said == [False] * 3 and len(warden._held) == 2
    told = [marshal.loads(call.args[0])[0] for call in warden._link.send.call_args_list]
    assert told == ["question"] * 2 + ["refused"] * 3


O_PATH, O_CREAT, O_WRONLY = 0o10000000, 0o100, 1


@pytest.mark.parametrize(
    ("text", "mask", "call", "abi", "access"),
    [
        ("257 0xffffff9c 0x7f 0x80000 0x0 0x0 0x0 0x7ffe 0x7f01", fanotify.OPEN, "openat", "x86_64", "r"),
        ("2 0x7f 0x1 0x0 0x0 0x0 0x0 0x7ffe 0x7f01", fanotify.OPEN, "open", "x86_64", "w"),
        (f"257 0x3 0x7f {O_CREAT:#x} 0x0 0x0 0x0 0x7ffe 0x7f01", fanotify.OPEN, "openat", "x86_64", "rw"),
        ("85 0x7f 0x1 0x0 0x0 0x0 0x0 0x7ffe 0x7f01", fanotify.OPEN, "creat", "x86_64", "w"),
        ("437 0x7f 0x1 0x0 0x0 0x0 0x0 0x7ffe 0x7f01", fanotify.OPEN, "openat2", "x86_64", "rw"),
        ("5 0x7f 0x0 0x0 0x0 0x0 0x0 0xffe 0x801", fanotify.OPEN, "open", "i386", "r"),
        ("295 0xffffffffffffff9c 0x7f 0x1 0x0 0x0 0x0 0xffe 0x801", fanotify.OPEN, "openat", "i386", "w"),
        ("1073742081 0xffffff9c 0x7f 0x2 0x0 0x0 0x0 0xffe 0x801", fanotify.OPEN, "openat", "x32", "rw"),
        ("59 0x7f 0x1 0x0 0x0 0x0 0x0 0x7ffe 0x7f01", fanotify.EXEC, "execve", "x86_64", "x"),
        ("59 0x7f 0x1 0x0 0x0 0x0 0x0 0x7ffe 0x7f01", fanotify.OPEN, "execve", "x86_64", ""),
        ("426 0x3 0x1 0x0 0x0 0x0 0x0 0x7ffe 0x7f01", fanotify.OPEN, "io_uring_enter", "x86_64", "rw"),
        ("running", fanotify.OPEN, "?", "x86_64", "rw"),
        ("-1 0x7ffe 0x7f01", fanotify.OPEN, "?", "x86_64", "rw"),
        ("", fanotify.OPEN, "?", "x86_64", "rw"),
    ],
)
def test_what_an_open_asks_for_is_told_by_its_registers_or_taken_for_both(text, mask, call, abi, access):
    machine = mock.Mock(return_value=mock.Mock(machine="x86_64"))
    with mock.patch.object(opened.procfs, "read", return_value=text.encode()), mock.patch("os.uname", machine):
        found = opened.opened(7, mask)
    assert (found.call, found.abi, found.access) == (call, abi, access)
    assert all(one < 1 << 32 for one in found.args) or abi != "i386"


def test_no_number_is_one_of_an_open_for_two_abis():
    numbers = [opened._numbers(abi) for abi in opened._ABIS["x86_64"]]
    opens = [{number for number, name in known.items() if name in opened._OPENS} for known in numbers]
    for one, known in zip(opens, numbers, strict=True):
        for other, others in zip(opens, numbers, strict=True):
            assert known is others or {known[n] for n in one & other} == {others[n] for n in one & other}
