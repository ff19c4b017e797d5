"""Rules that ask at the security hooks, as far as that is pure: how rules are shared out, and which calls can wait."""

from __future__ import annotations

import errno

import pytest
import records
from hypothesis import given
from hypothesis import strategies as st

from isotrace.enforce import Enforced, Guarantees, Question, Refused
from isotrace.enforce.hooks import coverage, questions, waiting
from isotrace.enforce.tables import pack_asking, pack_rule
from isotrace.policy import Action, CallRequest, Group, PathRequest, Policy, decide, decide_all, names, paths
from isotrace.policy.model import StandingRule, asks
from isotrace.trace import events

KINDS = {"refuse": Action(), "ask": Action("ask"), "audit": Action("audit"), "allow": Action()}
TEXTS = ("/", "r:/", "/a/**", "r:/a/**", "w:/a/b", "/a/b/**", "rw:/a/*/c", "r:/a/b/c")
PATHS = ("/a/b", "/a/b/c", "/a/x", "/b")


def enforced(*rules):
    return [Enforced(number, rule, "lsm", Guarantees(True, "judged", True)) for number, rule in enumerate(rules)]


def path(text, kind):
    return paths.parse(text, allow=kind == "allow", action=KINDS[kind])


def decided(parts, requests):
    """What becomes of a call that meets the programs of each part in turn."""
    for kind in ("refuse", "ask", "audit"):
        policy = Policy((Group("", tuple(one.rule for one in parts.get(kind, ()))),))
        found = [decide(policy, request).rule for request in requests]
        if any(rule and not rule.allow and stands(parts[kind], rule, requests) for rule in found):
            return kind
    return "allow"


def stands(part, rule, requests):
    """Whether a rule that is found does something, or stands for rules on calls that are not made."""
    numbers = {one.number for one in part if one.rule is rule}
    return numbers != {waiting.STANDS_FOR_CALLS} or requests[0].call == "openat"


def in_words(rule):
    if rule is None or rule.allow:
        return "allow"
    return "refuse" if rule.action.kind == "errno" else rule.action.kind


@given(
    st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from([*KINDS])), max_size=6),
    st.sampled_from(["", "refuse", "ask", "audit"]),
    st.sampled_from(PATHS),
    st.sampled_from(["r", "w", "rw"]),
)
def test_programs_of_one_kind_each_do_together_what_the_policy_says(some, call, where, letters):
    rules = [path(*one) for one in some] + ([names.parse("open", action=KINDS[call])] if call else [])
    requests = [CallRequest("openat"), PathRequest(where, frozenset(letters))]
    wanted = in_words(decide_all(Policy((Group("", tuple(rules)),)), requests).rule)
    assert decided(waiting.split(enforced(*rules)), requests) == wanted


def test_a_part_has_its_own_rules_and_exceptions_of_the_same_kind_of_thing():
    guard = StandingRule("protects isotrace", "guard")
    rules = [names.parse("kill"), path("/a/**", "ask"), path("/a/b", "refuse"), path("/a/c", "allow"), guard]
    parts = waiting.split(enforced(*rules))
    assert [*parts] == ["refuse", "ask"]
    assert [(one.number, one.rule.allow) for one in parts["ask"]] == [(1, False), (2, True), (3, True)]
    assert [(one.number, one.rule.allow) for one in parts["refuse"]] == [
        (0, False),
        (1, True),
        (2, False),
        (3, True),
        (4, False),
    ]
    assert all(asks(one.rule) for one in parts["ask"] if not one.rule.allow)
    assert [*waiting.split(enforced(names.parse("open", action=KINDS["ask"])))] == ["ask"]


@pytest.mark.parametrize("hook", [*coverage.PATHS, *coverage.NETS, *coverage.on_calls()])
def test_only_calls_that_come_to_a_hook_by_themselves_wait_there(hook):
    waits = waiting.can_wait(hook)
    if hook in coverage.on_calls() and hook not in coverage.BROAD:
        assert waits <= coverage.comes_by(hook)
    assert not waits & {"sendmmsg", "recvmmsg", "io_uring_enter", "io_uring_setup"}
    assert hook == "file_permission" or not waits & {"sendfile", "splice"}


def test_every_kind_of_call_that_asks_by_a_path_can_wait_somewhere():
    waits = frozenset().union(*(waiting.can_wait(hook) for hook in coverage.PATHS))
    assert {"openat", "execve", "unlink", "rename", "mkdir", "link", "symlink", "mknod", "mount", "chmod"} <= waits
    assert not waiting.can_wait("file_receive") and not waiting.can_wait("ptrace_access_check")


def test_a_rule_that_asks_has_the_error_of_a_denial_and_says_whom_to_kill():
    assert pack_asking(Action("ask", errno.EACCES)) == pack_rule(Action("errno", errno.EACCES))
    assert pack_asking(Action("ask", errno.EACCES, "kill"))[4:] == b"\4\0\0\0"


def test_a_record_that_asks_is_a_question_about_the_call_that_it_is_of():
    batch = records.batch(records.make(kind=events.ASKED, pad=3))
    call = Refused(5, 12, 13, b"cat", "openat", "x86_64", (1, 2), 4, "/etc/passwd")
    wanted = Question(0, 5, 12, 13, b"cat", "openat", "x86_64", (1, 2), 4, "/etc/passwd", "rw")
    assert questions._question(call, batch, 0) == wanted
