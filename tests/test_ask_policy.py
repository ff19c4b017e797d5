"""Rules that ask: what the reference decides beside other rules, what a plan says of them, and who turns them down."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrace.enforce import Guarantees, describe, plan, registry, tables
from isotrace.enforce.mechanisms import Lsm, Seccomp
from isotrace.enforce.opens.mechanism import Fanotify
from isotrace.errors import UsageError
from isotrace.policy import (
    Action,
    CallRequest,
    Group,
    NetRequest,
    PathRequest,
    Policy,
    assemble,
    decide,
    decide_all,
    file,
    names,
    nets,
    paths,
)
from isotrace.trace.target import Target

KINDS = {
    "refuse": Action(),
    "kill": Action("kill"),
    "ask": Action("ask"),
    "audit": Action("audit"),
    "allow": Action(),
}
#: The order on a tie, the one that decides first.
ORDER = ("refuse", "ask", "audit", "allow")
OPENING = CallRequest("openat")


def policy(*rules):
    return Policy((Group("", rules),))


def on_path(kind, text="/a/**"):
    return paths.parse(text, allow=kind == "allow", action=KINDS[kind])


def on_net(kind, text="10.0.0.0/8"):
    return nets.parse(text, allow=kind == "allow", action=KINDS[kind])


def on_call(kind, text="open"):
    return names.parse(text, action=KINDS[kind])


def kind_of(rule):
    if rule is None or rule.allow:
        return "allow"
    return {"errno": "refuse", "kill": "refuse"}.get(rule.action.kind, rule.action.kind)


def reading(path):
    return PathRequest(path, frozenset("r"))


@given(st.permutations(ORDER), st.data())
def test_on_a_tie_the_strictest_decides_in_whatever_order(kinds, data):
    some = data.draw(st.lists(st.sampled_from(kinds), min_size=1))
    wanted = min(some, key=ORDER.index)
    assert kind_of(decide(policy(*map(on_path, some)), reading("/a/b")).rule) == wanted
    address = NetRequest("tcp", ip_address("10.1.1.1"), 80)
    assert kind_of(decide(policy(*map(on_net, some)), address).rule) == wanted


def test_the_most_specific_rule_decides_whatever_it_does():
    rules = policy(on_path("refuse"), on_path("ask", "/a/b/**"), on_path("allow", "/a/b/c"), on_path("audit", "/a/b/d"))
    found = {path: kind_of(decide(rules, reading(path)).rule) for path in ("/a/x", "/a/b/x", "/a/b/c", "/a/b/d")}
    assert found == {"/a/x": "refuse", "/a/b/x": "ask", "/a/b/c": "allow", "/a/b/d": "audit"}
    assert decide(rules, reading("/a/b/x")).asked and not decide(rules, reading("/a/b/d")).asked
    assert decide(rules, reading("/a/b/c")).excepted and not decide(rules, reading("/b")).excepted


@pytest.mark.parametrize(("first", "second"), [("refuse", "ask"), ("ask", "audit"), ("refuse", "audit")])
def test_of_two_letters_the_stricter_decides(first, second):
    for read, write in ((first, second), (second, first)):
        rules = policy(on_path(read, "r:/a"), on_path(write, "w:/a"))
        assert kind_of(decide(rules, PathRequest("/a", frozenset("rw"))).rule) == first


class TestOneCall:
    def test_what_a_rule_refuses_is_not_asked_about(self):
        for call, path in (("ask", "refuse"), ("refuse", "ask"), ("ask", "kill")):
            decision = decide_all(policy(on_call(call), on_path(path)), [OPENING, reading("/a/b")])
            assert decision.denied and not decision.asked

    def test_an_exception_for_reading_is_none_for_reading_and_writing(self):
        rules = policy(on_call("ask"), paths.parse("r:/a/**", allow=True))
        assert not decide_all(rules, [OPENING, PathRequest("/a/b", frozenset("r"))]).asked
        assert decide_all(rules, [OPENING, PathRequest("/a/b", frozenset("rw"))]).asked

    def test_what_asks_twice_asks_once_and_an_audit_does_not_take_its_place(self):
        twice = policy(on_call("ask"), on_path("ask"))
        assert decide_all(twice, [OPENING, reading("/a/b")]).rule in twice.rules
        assert decide_all(policy(on_call("audit"), on_path("ask")), [OPENING, reading("/a/b")]).asked
        assert decide_all(policy(on_call("ask"), on_path("audit")), [OPENING, reading("/a/b")]).asked

    def test_what_is_excepted_in_so_many_words_is_not_asked_about_but_is_refused(self):
        rules = policy(on_call("ask"), on_path("allow"))
        assert not decide_all(rules, [OPENING, reading("/a/b")]).denied
        assert decide_all(rules, [OPENING, reading("/b")]).asked
        assert decide_all(rules, [OPENING]).asked
        refusing = policy(on_call("refuse"), on_path("allow"))
        assert decide_all(refusing, [OPENING, reading("/a/b")]).denied

    def test_a_call_with_two_paths_is_asked_about_unless_both_are_excepted(self):
        rules = policy(on_call("ask", "rename"), on_path("allow", "w:/a/**"))
        both = [CallRequest("rename"), *(PathRequest(path, frozenset("w")) for path in ("/a/1", "/a/2"))]
        assert not decide_all(rules, both).denied
        assert decide_all(rules, [*both[:2], PathRequest("/b", frozenset("w"))]).asked


def test_the_words_of_the_command_line_and_of_a_file(tmp_path):
    words = {
        "deny": ["ptrace"], "ask": ["connect"], "ask_path": ["r:/home/**"], "ask_net": ["any:"], "allow_path": ["/home/a"],
    }  # fmt: skip
    there = tmp_path / "p.toml"
    there.write_text('version = 1\n[groups.later]\naction = "ask"\ndeny-path = "/srv/**"\nallow-path = "/srv/a"\n')
    made = assemble.policy(words, assemble.action("EACCES", False, False), str(there))
    assert made.asks and [(rule.title, rule.action.kind) for rule in made.rules] == [
        ("deny ptrace", "errno"), ("ask connect", "ask"), ("ask-path r:/home/**", "ask"), ("allow-path /home/a", "errno"),
        ("ask-net any:", "ask"), ("ask-path /srv/**", "ask"), ("allow-path /srv/a", "ask"),
    ]  # fmt: skip
    assert made.rules[1].action.errno == made.rules[0].action.errno
    audited = assemble.policy({"deny": ["ptrace"]}, Action("audit"), str(there))
    assert not audited.asks


def test_block_has_no_questions(tmp_path, capfd):
    from isotrace.__main__ import main

    there = tmp_path / "p.toml"
    there.write_text('version = 1\n[groups.a]\naction = "ask"\ndeny = "connect"\n')
    assert file.load(str(there)).asks
    with (
        mock.patch("sys.argv", ["isotrace", "block", "--policy", str(there), "--", "true"]),
        pytest.raises(SystemExit) as end,
    ):
        main()
    assert end.value.code == 2
    said = capfd.readouterr().err
    assert "rules that ask" in said and "isotrace ask" in said and said.count("\n") == 2


@dataclass(frozen=True)
class Waiting:
    """A mechanism that does all, and asks as ``cannot_ask`` says."""

    name: str = "seccomp"
    commands_only: bool = False
    cannot_ask: str = ""

    def guarantees(self, rule, findings):
        waits = "thread" if rule.action.kind == "ask" else ""
        return Guarantees(True, "not concerned", True, waits=waits, orphaned="allowed" if waits else "")


@pytest.mark.parametrize("why", ["", "no call waits here"])
def test_a_rule_that_asks_goes_only_where_a_call_can_wait(why):
    rules = policy(on_call("ask"), on_path("allow"))
    with mock.patch.object(plan, "MECHANISMS", (Waiting(cannot_ask=why),)):
        made = plan.make(rules, {}, Target(ppid=1))
    lines = "\n".join(describe.plan_lines(made))
    assert made.ok != bool(why)
    if why:
        assert f"cannot ask: {why}" in lines and "NOT ENFORCEABLE" in lines
    else:
        assert "ask open → ask, else EPERM: seccomp" in lines
        assert "the thread waits · if isotrace is killed: allowed" in lines


def test_no_mechanism_asks_unless_it_says_so():
    rule = on_call("ask")
    with mock.patch.dict(registry.BUILT, dict.fromkeys(registry.BUILT, "somewhere")):
        for mechanism in registry.MECHANISMS:
            answer = plan._Chooser([mechanism], {}, Target(command=("x",)), True)._answer(mechanism, rule)
            assert not isinstance(answer, Guarantees) or answer.waits


def test_programs_in_the_kernel_are_given_no_question_as_something_else():
    with pytest.raises(KeyError):
        tables.pack_rule(Action("ask"))


def test_an_action_that_is_none_names_those_there_are():
    with pytest.raises(UsageError, match="ask"):
        file.read('version = 1\n[groups.a]\naction = 3\ndeny = "connect"\n')


def on_read(text="/a/**"):
    return paths.parse_read(text, action=KINDS["ask"])


def test_reading_what_is_open_already_is_asked_about_where_a_rule_says_so_and_no_exception_is_for_reading():
    held, opened = (PathRequest("/a/b", frozenset(letter)) for letter in "hr")
    assert decide(policy(on_read()), held).asked and decide(policy(on_read()), opened).asked
    assert decide(policy(on_path("ask", "r:/a/**")), held).rule is None
    for exception, is_asked in (("/a/b", False), ("r:/a/b", False), ("w:/a/b", True), ("r:/**", True)):
        assert decide(policy(on_read(), on_path("allow", exception)), held).asked == is_asked, exception
    both = policy(on_read(), on_path("refuse", "/a/b"))  # a refusal is about opening
    assert decide(both, held).rule is None and not decide(both, opened).asked
    words = {"ask_read": ["/a/**"], "deny": (), "ask": ()}
    assert assemble.policy(words, Action(), None).rules == (on_read(),)
    assert on_read().title == "ask-read /a/**"


def test_a_group_that_asks_may_have_reads_of_what_is_open_already():
    text = 'version = 1\n[groups.keys]\naction = "{}"\nask-read = ["/a/**"]\n'
    (rule,) = file.read(text.format("ask")).rules
    assert rule.access == {"r", "h"} and rule.group == "keys"
    with pytest.raises(UsageError, match=r'policy:4: groups.keys.ask-read: only a group with action = "ask" has it'):
        file.read(text.format("EPERM"))
    answered = text.format("ask") + '[groups.answers]\nallow-path = ["r:/a/**"]\n'
    assert not assemble.settled(file.read(answered)).asks


def test_a_mechanism_that_only_sees_opens_says_that_it_asks_about_less():
    known = {
        name: mock.Mock(verdict="yes") for name in ("seccomp", "seccomp_notify", "fanotify", "lsm_bpf", "unpreempted")
    }
    less = Seccomp(asking=True).guarantees(on_read(), known)
    assert any("already open" in words for words in less.short)
    assert not Seccomp(asking=True).guarantees(on_path("ask"), known).short
    marked = Fanotify().guarantees(paths.parse_read("/a/*", action=Action("ask", kept=True)), known)
    assert all(any(less in words for words in marked.short) for less in ("is already open", "isotrace is killed"))
    whole = Lsm().guarantees(on_read(), known)
    assert not whole.short and any("first read" in words for words in whole.notes)
