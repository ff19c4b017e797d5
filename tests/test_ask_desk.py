"""The desk: what is asked together, what an answer covers, and that nothing is allowed but by an answer or a rule."""

from __future__ import annotations

import pytest
from askers import CALLS, NETS, PATHS, RULES, Office, killing, question
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrace.asking import things
from isotrace.asking.desk import Reply, Scope
from isotrace.enforce.plan import EnforcementPlan
from isotrace.run.asking import ends


class TestOneQuestion:
    @pytest.mark.parametrize("verdict", ["allow", "deny", "kill"])
    def test_is_told_what_was_answered_and_that_is_reported(self, verdict):
        office = Office()
        (case,) = office.ask(question(1))
        office.clock.now += 2.5
        assert office.reply(case, verdict) == 1
        assert office.asking.said == {1: verdict} and office.desk.cases() == ()
        (record,) = office.desk.drain()
        assert (record.answer.verdict, record.answer.by, record.answer.who) == (verdict, "person", "me")
        assert record.answer.waited_ns == 2_500_000_000 and record.what == "/etc/passwd" and record.rule == PATHS

    @pytest.mark.parametrize("rules", [RULES, tuple(map(killing, RULES))])
    def test_gets_the_default_when_its_time_is_up_and_that_is_no_answer_of_a_persons(self, rules):
        office = Office(rules)
        (case,) = office.ask(question(1))
        office.wait(59)
        assert office.asking.said == {}
        office.wait(2)
        wanted = rules[0].action.otherwise
        assert office.asking.said == {1: wanted} and office.ends() == [(wanted, "nobody")]
        assert office.reply(case, "allow") == 0 and office.asking.said == {1: wanted}

    def test_disappears_when_the_thread_does(self):
        office = Office()
        (case,) = office.ask(question(1))
        office.asking.kill(1)
        office.wait()
        assert office.desk.cases() == () and office.reply(case, "allow") == 0 and office.ends() == []

    def test_that_was_answered_too_late_is_not_reported_as_answered(self):
        office = Office()
        (case,) = office.ask(question(1))
        office.asking.kill(1)
        assert office.reply(case, "allow") == 0 and office.ends() == []

    def test_gets_the_default_when_isotrace_ends(self):
        office = Office()
        office.ask(question(1))
        office.desk.end()
        assert office.asking.said == {1: "deny"} and office.ends() == [("deny", "end")]

    def test_that_cannot_be_taken_gets_the_default_and_the_others_their_turn(self):
        office = Office()
        office.programs = None  # who asks cannot be told
        office.ask(question(1))
        assert office.asking.said == {1: "deny"} and "NoneType" in office.desk.trouble
        office.programs = {}
        assert len(office.ask(question(2))) == 1


class TestGrouping:
    def test_fifty_opens_below_node_modules_are_one_question(self):
        office = Office()
        opens = [question(n, f"/srv/app/node_modules/m{n}/lib/index.js", pid=100 + n % 3) for n in range(50)]
        (case,) = office.ask(*opens)
        assert (case.waiting, case.processes, case.thing) == (50, 3, things.Thing("tree", "/srv/app/node_modules", "r"))
        assert office.reply(case, "allow") == 50 and set(office.asking.said.values()) == {"allow"}

    @pytest.mark.parametrize(
        ("first", "second", "together"),
        [
            (question(1, "/a/x"), question(2, "/a/y"), True),
            (question(1, "/a/x"), question(2, "/b/y"), False),
            (question(1, "/a/x"), question(2, "/a/b/y"), False),
            (question(1, "/a/x"), question(2, "/a/x", "rw"), False),
            (question(1, "/a/x", "x"), question(2, "/a/y", "x"), False),
            (question(1, "/a/x", "x"), question(2, "/a/x", "x"), True),
            (question(1, "1.1.1.1:53", "", "connect"), question(2, "1.1.1.1:53", "", "sendto"), True),
            (question(1, "1.1.1.1:53", "", "connect"), question(2, "1.1.1.1:80", "", "connect"), False),
            (question(1, "0.0.0.0:80", "", "connect"), question(2, "0.0.0.0:80", "", "bind"), False),
            (question(1, "", "", "kill", args=(7, 9)), question(2, "", "", "kill", args=(7, 9)), True),
            (question(1, "", "", "kill", args=(7, 9)), question(2, "", "", "kill", args=(8, 9)), False),
        ],
    )
    def test_what_is_asked_together(self, first, second, together):
        assert len(Office().ask(first, second)) == (1 if together else 2)

    def test_programs_are_asked_about_apart(self):
        office = Office()
        office.programs = {7: "/bin/sh"}
        assert len(office.ask(question(1), question(2, pid=7))) == 2

    def test_an_answer_for_once_is_for_what_was_shown(self):
        office = Office()
        (shown,) = office.ask(question(1, "/a/x"))
        office.ask(question(2, "/a/secret"))
        assert office.reply(shown, "allow") == 1
        assert office.asking.said == {1: "allow"} and office.desk.cases()[0].question.id == 2

    def test_the_oldest_comes_first(self):
        office = Office()
        office.ask(question(1, "/b/x"))
        office.clock.now += 1
        office.ask(question(2, "/a/x"))
        office.clock.now += 1
        office.ask(question(3, "/b/y"))
        assert [case.question.id for case in office.desk.cases()] == [1, 2]


class TestScopes:
    """What an answer to a question of process 100, which runs cat, about reading /a/x is one to as well."""

    CASES = (
        ("same", question(2, "/a/x"), {"process", "program", "time"}),
        ("another process", question(2, "/a/x", pid=101), {"program", "time"}),
        ("another program", question(2, "/a/x", pid=7), set()),
        ("another file", question(2, "/a/y"), set()),
        ("to write", question(2, "/a/x", "rw"), set()),
        ("another rule", question(2, "/a/x", rule=CALLS), set()),
    )

    @pytest.mark.parametrize("scope", ["once", "process", "program", "time"])
    @pytest.mark.parametrize("verdict", ["allow", "deny", "kill"])
    @pytest.mark.parametrize(("asked", "covering"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
    def test_what_is_not_asked_again(self, scope, verdict, asked, covering):
        office = Office()
        office.programs = {7: "/bin/sh"}
        (case,) = office.ask(question(1, "/a/x"))
        office.reply(case, verdict, scope, seconds=600)
        office.ends()
        office.ask(asked)
        covered = scope in covering
        assert office.asking.said == {1: verdict} | ({2: verdict} if covered else {})
        assert office.ends() == ([(verdict, "earlier")] if covered else [])

    def test_a_time_ends(self):
        office = Office()
        (case,) = office.ask(question(1))
        office.reply(case, "allow", "time", seconds=600)
        office.clock.now += 599
        assert office.ask(question(2)) == ()
        office.clock.now += 2
        assert len(office.ask(question(3))) == 1

    def test_what_waits_already_is_answered_with_it(self):
        office = Office()
        first, second = office.ask(question(1, "", "", "kill", args=(7, 9)), question(2, "", "", "kill", args=(8, 9)))
        assert first.thing == second.thing
        office.reply(first, "deny", "process")
        assert office.asking.said == {1: "deny", 2: "deny"}
        assert office.ends() == [("deny", "person"), ("deny", "earlier")]

    def test_a_process_with_another_program_is_asked_again(self):
        office = Office()
        (case,) = office.ask(question(1))
        office.reply(case, "allow", "process")
        office.programs = {100: "/tmp/evil"}
        assert len(office.ask(question(2))) == 1

    def test_a_program_that_nobody_can_name_is_not_remembered(self):
        office = Office()
        office.programs = {100: "", 101: ""}
        (case,) = office.ask(question(1))
        office.reply(case, "allow", "program")
        assert len(office.ask(question(2, pid=101))) == 1

    def test_of_two_answers_the_denial_counts(self):
        office = Office()
        one, other = office.ask(question(1, "/a/x"), question(2, "/a/y", pid=101))[0], None
        office.reply(one, "allow", "program")  # the files in /a, as two were shown
        (other,) = office.ask(question(3, "/a/x", "r", pid=100, call="open", rule=CALLS))
        office.reply(other, "deny", "program")
        office.ask(question(4, "/a/x"))
        office.ask(question(5, "/a/x", rule=CALLS))
        assert office.asking.said == {1: "allow", 2: "allow", 3: "deny", 4: "allow", 5: "deny"}


class TestTooMany:
    def test_what_comes_past_the_limit_gets_the_default_and_memory_stays_flat(self):
        office = Office(limit=100)
        office.ask(*(question(n, f"/a/{n}", pid=n + 10) for n in range(10_000)))
        assert len(office.asking.waiting) == 100 and len(office.asking.said) == 9900
        assert set(office.asking.said.values()) == {"deny"}
        assert office.desk.counts[PATHS, "deny", "limit"] == 9900
        assert len(office.desk.cases()) == 1 and len(office.desk.cases()[0].objects) <= 8
        assert len(office.desk._where) == 100

    def test_that_there_were_too_many_is_said_with_the_rule(self):
        office = Office(limit=100)
        office.ask(*(question(n, f"/a/{n}", pid=n + 10) for n in range(10_000)))
        office.desk.end()
        (line,) = ends(EnforcementPlan(tuple(office.rules.values()), (), ok=True), office.desk)
        assert line == "ask-path /**: 100 denied, not answered before the end; 9900 denied, not asked: too many waited"

    def test_there_is_room_again_when_some_are_answered(self):
        office = Office(limit=2)
        (case,) = office.ask(question(1), question(2))
        office.reply(case, "deny")
        assert len(office.ask(question(3))) == 1

    def test_answers_that_are_not_read_are_counted(self, monkeypatch):
        monkeypatch.setattr("isotrace.asking.desk._RECORDS", 10)
        office = Office(limit=1)
        office.ask(*(question(n, f"/a/{n}") for n in range(50)))
        assert len(office.desk.drain()) == 10 and office.desk.lost == 39


class TestAlways:
    @pytest.mark.parametrize("verdict", ["allow", "deny", "kill"])
    @pytest.mark.parametrize(
        "asked",
        [
            question(1, "/a/x"),
            question(1, "/a/x", "rw"),
            question(1, "/a/b*c/x", "x"),
            question(1, "1.2.3.4:80", "", "connect"),
            question(1, "[2001:db8::1]:443", "", "connect"),
            question(1, "/run/s", "", "connect"),
            question(1, "@bus", "", "connect"),
            question(1, "", "", "kill"),
        ],
        ids=lambda one: one.what or one.call,
    )
    def test_whatever_rule_is_chosen_nobody_is_asked_again_about_the_same(self, asked, verdict):
        for number in range(3):
            office = Office()
            (case,) = office.ask(asked)
            choices = office.desk.choices(case, verdict)
            assert 1 <= len(choices) <= 3
            if number < len(choices):
                office.reply(case, verdict, "always", rule=choices[number])
                office.ends()
                office.programs = {7: "/bin/other"}
                office.ask(question(2, asked.what, asked.access, asked.call, pid=7))
                assert office.asking.said == {1: verdict, 2: verdict} and office.ends() == [(verdict, "earlier")]

    def test_the_narrowest_rule_is_for_the_object_alone(self):
        office = Office()
        (case,) = office.ask(question(1, "/a/x"))
        narrow, wider, widest = office.desk.choices(case, "allow")[0], *office.desk.choices(case, "allow")[1:]
        assert (
            narrow.text == "allow-path r:/a/x"
            and wider.text == "allow-path r:/a/*"
            and widest.text == "allow-path r:/a/**"
        )
        office.reply(case, "allow", "always", rule=narrow)
        assert len(office.ask(question(2, "/a/y"))) == 1 and 2 not in office.asking.said

    def test_what_is_answered_once_it_waits_no_more_is_asked_again(self):
        office = Office()
        (case,) = office.ask(question(1, "/a/x"))
        office.asking.kill(1)
        assert office.desk.reply(Reply(case, "allow", Scope("process"), "person", "me")) == 0
        assert len(office.ask(question(2, "/a/x"))) == 1 and 2 not in office.asking.said

    def test_a_narrower_rule_that_asks_goes_on_asking(self):
        from isotrace.policy import paths

        key = paths.parse("/a/key/**", allow=False, action=RULES[0].action)
        office = Office((*RULES, key))
        (case,) = office.ask(question(1, "/a/x"))
        office.reply(case, "allow", "always", rule=office.desk.choices(case, "allow")[2])
        assert len(office.ask(question(2, "/a/key/id", rule=3))) == 1


_QUESTIONS = st.builds(
    lambda place, call, pid: question(0, *place, *call, pid=pid),
    st.sampled_from([("/a/x", "r"), ("/a/y", "r"), ("/a/x", "w"), ("/b/z", "x")]),
    st.just(("openat",)),
    st.sampled_from([100, 101, 7]),
) | st.builds(
    lambda what, call, pid: question(0, what, "", call, pid=pid),
    st.sampled_from(["1.1.1.1:53", "@s", ""]),
    st.sampled_from(["connect", "kill"]),
    st.sampled_from([100, 101, 7]),
)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), _QUESTIONS),
        st.tuples(st.just("die"), st.integers(0, 50)),
        st.tuples(st.just("wait"), st.sampled_from([1, 30, 100])),
        st.tuples(
            st.just("reply"),
            st.tuples(
                st.integers(0, 5),
                st.sampled_from(["allow", "deny", "kill"]),
                st.sampled_from(["once", "process", "program", "time", "always"]),
                st.integers(0, 2),
                st.booleans(),
            ),
        ),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(_STEPS, st.integers(1, 6))
def test_nothing_is_ever_allowed_except_by_an_answer_or_a_rule(steps, limit):
    """Whatever comes in whatever order. What an answer allows is told by a model of its own: the answers so far."""
    office = Office(limit=limit)
    office.programs = {7: "/bin/sh"}
    allowing, number, stale = [], 0, []
    for what, how in steps:
        before = dict(office.asking.said)
        if what == "ask":
            number += 1
            one = question(number, how.what, how.access, how.call, how.rule, how.pid)
            stale = list(office.ask(one)) + stale[:3]
        elif what == "die" and how in office.asking.waiting:
            office.asking.kill(how)
        elif what == "wait":
            office.wait(how)
            assert not any(verdict == "allow" for one, verdict in office.asking.said.items() if one not in before)
        elif what == "reply":
            place, verdict, scope, choice, late = how
            cases = stale if late else office.desk.cases()
            if place < len(cases):
                case, rule = cases[place], None
                if scope == "always":
                    rules = office.desk.choices(case, verdict)
                    rule = rules[choice % len(rules)]
                if (
                    office.desk.reply(Reply(case, verdict, Scope(scope, 50.0, rule), "person", "me"))
                    and verdict == "allow"
                ):
                    allowing.append((case, scope, office.clock.now))
        for one in office.desk.drain():
            if one.answer.verdict == "allow":
                assert allowing, "nobody has allowed anything"
                assert one.answer.by in ("person", "earlier")
                if one.answer.by == "person":
                    case = allowing[-1][0]
                    assert one.rule == case.question.rule and (one.what == case.question.what or case.waiting > 1)
                else:
                    lasting = [entry for entry in allowing if entry[1] != "once"]
                    assert any(
                        scope == "always"
                        or (
                            case.asker.program == office.who(one.pid).program
                            and (scope != "process" or case.asker.pid == one.pid)
                        )
                        for case, scope, _ in lasting
                    )
            else:
                assert one.answer.by != "person" or what == "reply"
    office.desk.end()
    assert not office.asking.waiting or all(number not in office.desk._where for number in office.asking.waiting)
    assert not office.asking.waiting


def test_addresses_and_calls_are_about_themselves():
    assert Office().ask(question(1, "1.1.1.1:53", "", "connect"))[0].thing.kind == "address"
    (case,) = Office().ask(question(1, "", "", "kill", CALLS))
    assert case.thing == things.Thing("call", "kill") and case.rule.rule is RULES[CALLS]
    assert Office().ask(question(1, "1.1.1.1:53", "", "bind", NETS))[0].thing.kind == "own address"
