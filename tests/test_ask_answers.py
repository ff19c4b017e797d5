"""Answers as they are written, into a policy file and by whoever is asked; questions as they are shown."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from unittest import mock

import pytest
from askers import CAT, RULES, Office, policy_of, question
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from isotrace.asking import lasting, program, shown, words
from isotrace.asking.desk import Scope
from isotrace.asking.file import AnswersFile, with_rule
from isotrace.asking.lasting import Written
from isotrace.asking.replies import Replies
from isotrace.asking.things import Thing, shared, single
from isotrace.errors import IsotraceError, UsageError
from isotrace.policy import Action, Policy, file, names, nets, paths
from isotrace.policy.settle import settled
from isotrace.sinks.refusals import Json, Lines, RefusalSink

_NAME = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
_PLACE = st.lists(
    _NAME | st.sampled_from(["a*b", "**", "*", "a\\b", "node_modules", "\x1b[2J", "\udcff", '"', "\u2028"]), min_size=1
)
_ADDRESS = st.sampled_from(
    ["1.2.3.4:80", "0.0.0.0:80", "[::]:1", "[::1]:65535", "[2001:db8::1]:0", "9.9.9.9", "@a b", "@", "/run/x"]
)
_ASKED = st.one_of(
    st.builds(
        lambda place, access: question(1, "/" + "/".join(place), access), _PLACE, st.sampled_from(["r", "w", "rwx"])
    ),
    st.builds(lambda what, call: question(1, what, "", call), _ADDRESS, st.sampled_from(["connect", "bind"])),
    st.builds(lambda call: question(1, "", "", call), st.sampled_from(["kill", "ptrace", "mount"])),
)


@settings(max_examples=300, deadline=None)
@given(_ASKED, st.sampled_from(["allow", "deny", "kill"]), st.sampled_from([Action(), Action(errno=13)]), st.booleans())
def test_what_is_written_reads_as_a_policy_with_which_nobody_is_asked_again(asked, verdict, denial, alone):
    rules = (*RULES, names.parse("ptrace,mount", action=RULES[0].action))
    thing = single(asked) if alone else shared(asked)
    choices = lasting.choices(policy_of(rules), asked, thing, verdict, denial)
    assume(choices)
    head = "# mine\nversion = 1\n\n[groups.mine]\naction = 'audit'\ndeny = 'open'  # kept\n"
    text = head + "\n[groups.more]\ndeny = 'chroot'\n"
    for written in choices:
        text = with_rule(text, written)
        once = file.read(with_rule("version = 1\n", written))
        asking = settled(Policy((*policy_of(rules).groups, *once.groups)))
        assert lasting.says(asking, asked) == verdict
    assert text.startswith(head)
    groups = file.read(text).groups
    assert {"mine", "more"} <= {group.name for group in groups}
    assert sum(len(group.rules) + bool(group.unasked) for group in groups) >= 2 + bool(choices)


def test_the_file_of_a_policy_is_replaced_whole_and_stays_its_owners(tmp_path):
    there = tmp_path / "p.toml"
    there.write_text('version = 1\n[groups.answers]\ndeny-path = "/x"\n[groups.b]\ndeny = "chroot"\n')
    os.chmod(there, 0o640)
    AnswersFile(str(there)).add(Written("allow-path", "r:/a", Action()))
    AnswersFile(str(there)).add(Written("allow-path", "r:/a", Action()))
    AnswersFile(str(there)).add(Written("deny-net", ":53", Action(errno=13)))
    groups = {group.name: [rule.title for rule in group.rules] for group in file.load(str(there)).groups}
    assert groups == {
        "answers": ["deny-path /x", "allow-path r:/a"], "b": ["deny chroot"], "answers-EACCES": ["deny-net :53"],
    }  # fmt: skip
    assert stat.S_IMODE(there.stat().st_mode) == 0o640 and os.listdir(tmp_path) == ["p.toml"]


def test_a_file_is_made_where_there_is_none_and_a_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new.toml")
    AnswersFile(str(tmp_path / "link")).add(Written("allow", "=kill", Action()))
    assert (tmp_path / "link").is_symlink()
    (group,) = file.load(str(tmp_path / "new.toml")).groups
    assert group.unasked == {"kill"}


@pytest.mark.parametrize(
    "text",
    [
        "version = 1\ngroups = {answers = {deny = 'chroot'}}\n",
        "version = 1\ngroups.answers.deny = 'chroot'\n",
        "version = 2\n",
        "not a policy",
    ],
)
def test_what_cannot_be_added_to_is_left_as_it_is(tmp_path, text):
    there = tmp_path / "p.toml"
    there.write_text(text)
    with pytest.raises(IsotraceError, match="cannot add to"):
        AnswersFile(str(there)).add(Written("allow", "=kill", Action()))
    assert there.read_text() == text and os.listdir(tmp_path) == ["p.toml"]


def test_an_answer_that_cannot_be_written_holds_for_this_run_and_that_is_said(tmp_path):
    office, said = Office(), []
    (case,) = office.ask(question(1))
    replies = Replies(office.desk, AnswersFile(str(tmp_path / "no" / "p.toml")), said.append)
    rule = replies.choices(case, "allow")[0]
    assert replies.give(case, "allow", Scope("always", rule=rule), "person", "me") == 1
    assert len(said) == 1 and "cannot write" in said[0] and said[0].endswith("for this run only")
    office.ask(question(2))
    assert office.asking.said == {1: "allow", 2: "allow"}


def test_without_a_file_there_is_no_always():
    office = Office()
    (case,) = office.ask(question(1))
    replies = Replies(office.desk, None, print)
    assert replies.choices(case, "allow") == ()
    with pytest.raises(UsageError):
        replies.give(case, "allow", Scope("always", rule=Written("allow-path", "/a", Action())), "person", "me")
    assert office.asking.said == {}


class TestSettled:
    def test_an_answer_about_just_what_a_rule_asks_takes_it_away(self):
        ask, one = Action("ask"), paths.parse("rw:/a/b", allow=False, action=Action("ask"))
        answers = 'version = 1\n[groups.answers]\nallow-path = "r:/a/b"\nallow-net = "any:"\nallow = "kill"\n'
        there = file.read(answers)
        rules = (one, nets.parse("any:", allow=False, action=ask), names.parse("kill,mount", action=ask))
        left = settled(Policy((*policy_of(rules).groups, *there.groups))).rules
        assert [rule.title for rule in left] == [
            "ask-path rw:/a/b", "ask kill,mount", "allow-path r:/a/b", "allow-net any:",
        ]  # fmt: skip
        assert left[0].access == {"w"} and not left[1].calls & names.parse("kill").calls

    def test_an_exception_of_anybody_else_does_not(self):
        text = 'version = 1\n[groups.mine]\nallow-path = "/a/b"\n'
        one = paths.parse("/a/b", allow=False, action=Action("ask"))
        assert settled(Policy((*policy_of((one,)).groups, *file.read(text).groups))).asks


class TestWords:
    CHOICES = (Written("allow-path", "r:/a", Action()), Written("allow-path", "r:/*", Action()))

    @pytest.mark.parametrize(
        ("text", "verdict", "scope"),
        [
            ("allow", "allow", Scope()),
            ("y", "allow", Scope()),
            ("d p", "deny", Scope("process")),
            ("kill program", "kill", Scope("program")),
            ("a 10m", "allow", Scope("time", 600.0)),
            ("a w", "allow", Scope("always", rule=CHOICES[0])),
            ("a always 2", "allow", Scope("always", rule=CHOICES[1])),
            ("a w2", "allow", Scope("always", rule=CHOICES[1])),
            ("a w r:/*", "allow", Scope("always", rule=CHOICES[1])),
            ('{"answer": "allow", "scope": "1h"}', "allow", Scope("time", 3600.0)),
            (
                '{"answer": "allow", "scope": "always", "rule": "allow-path r:/*"}',
                "allow",
                Scope("always", rule=CHOICES[1]),
            ),
        ],
    )
    def test_an_answer(self, text, verdict, scope):
        assert program.answer(text.encode(), {verdict: self.CHOICES}.__getitem__) == (verdict, scope)

    @pytest.mark.parametrize(
        "text",
        ["", "maybe", "allow allow", "allow 0s", "allow always 3", "allow process 2", "ALLOW", "allow\nallow\nx",
         "\xff", "{", '{"answer": 1}', '{"answer": "allow", "when": "now"}', "[]",
         '{"answer": "allow", "rule": "allow-path r:/a"}'],
    )  # fmt: skip
    def test_what_is_none_is_one_line_with_a_hint(self, text):
        with pytest.raises(UsageError) as raised:
            program.answer(text.encode("latin-1"), {"allow": self.CHOICES, "deny": (), "kill": ()}.__getitem__)
        assert raised.value.hint and raised.value.message.isprintable()

    @given(st.binary(max_size=30))
    def test_no_output_is_more_than_a_usage_error(self, output):
        try:
            verdict, _ = program.answer(output, lambda verdict: self.CHOICES)
        except UsageError:
            return
        assert verdict in ("allow", "deny", "kill")
        assert words.VERDICTS.get(output.decode().split()[0]) == verdict

    def test_without_a_rule_always_is_no_answer(self):
        with pytest.raises(UsageError):
            words.scope(["always"], ())


HOSTILE = '/a/\x1b[2J\n\r\u202e\udcff"x'


def test_nothing_that_is_shown_reaches_a_terminal_as_it_was_written(tmp_path):
    office = Office()
    bad = question(1, HOSTILE, pid=os.getpid())
    bad = type(bad)(*(b"\x1b]0;x\x07\n" if name == "comm" else getattr(bad, name) for name in bad.__slots__))
    (case,) = office.ask(bad)
    said = shown.words(case)
    for text in (said.who, said.call, said.what, said.rule, said.family, shown.more(case)):
        assert text.isascii() and text.isprintable()
    choices = {one: office.desk.choices(case, one) for one in ("allow", "deny", "kill")}
    assert json.dumps(shown.as_object(case, choices, ())).isascii()
    for written in choices["allow"]:
        assert written.text.isprintable()


class TestReported:
    """An answer of somebody's, an earlier one, and none at all are told apart in lines and in JSON."""

    def lines(self, style, *steps):
        office, out = Office(limit=1), []
        sink = RefusalSink(mock.Mock(write=out.append), office.rules.values(), style)
        for step in steps:
            step(office)
        sink.write(office.desk.drain())
        return b"".join(out).decode().splitlines()

    @staticmethod
    def steps(office):
        (case,) = office.ask(question(1, "/a/1"))
        office.ask(question(2, "/a/2"))
        office.clock.now += 2
        office.reply(case, "allow", "process")
        office.ask(question(3, "/a/1"))
        office.ask(question(4, "/a/4"))
        office.wait(61)
        (case,) = office.ask(question(5, "/a/5", pid=8))
        office.reply(case, "deny")
        (case,) = office.ask(question(6, "/a/6", pid=9))
        office.reply(case, "kill", by="program", who="--answer-with")
        office.ask(question(7, "/a/7"))
        office.desk.end()

    def test_in_lines(self):
        said = [line.split("  ", 2)[1:] for line in self.lines(Lines(), self.steps)]
        assert [" ".join(parts) for parts in said] == [
            'openat("/a/2") = -1 EPERM (ask-path /**: not asked: too many questions wait)',
            'openat("/a/1") allowed (ask-path /**: allowed by me after 2.0 s, for the process)',
            'openat("/a/1") allowed (ask-path /**: allowed by an earlier answer of me, for the process)',
            'openat("/a/4") = -1 EPERM (ask-path /**: not answered in 61.0 s)',
            'openat("/a/5") = -1 EPERM (ask-path /**: denied by me after 0.0 s)',
            'openat("/a/6") killed (ask-path /**: killed by --answer-with after 0.0 s)',
            'openat("/a/7") = -1 EPERM (ask-path /**: not answered before isotrace ended)',
        ]

    def test_in_json(self):
        found = [json.loads(line) for line in self.lines(Json(), self.steps)]
        assert [(one["answer"]["verdict"], one["answer"]["by"], one["answer"]["who"]) for one in found] == [
            ("deny", "limit", None), ("allow", "person", "me"), ("allow", "earlier", "me"), ("deny", "nobody", None),
            ("deny", "person", "me"), ("kill", "program", "--answer-with"), ("deny", "end", None),
        ]  # fmt: skip
        assert found[1]["answer"]["waited_ns"] == 2_000_000_000 and found[1]["answer"]["scope"] == "process"


def test_a_recording_has_the_answers_and_shows_the_same_lines(tmp_path):
    from isotrace.recording import refusals
    from isotrace.recording.asked import Asked
    from isotrace.recording.reader import Recording, batches
    from isotrace.recording.schema import End, Head
    from isotrace.recording.writer import Writer

    office = Office(limit=1)
    TestReported.steps(office)
    records = office.desk.drain()
    out = Writer(Asked(str(tmp_path / "t")), Head())
    out.refused(records, office.rules)
    out.close(End())
    found = [pair for batch in batches([Recording(str(tmp_path / "t"))]) for _, pair in sorted(batch.refused.items())]
    assert [one.answer for one, _ in found] == [one.answer for one in records]
    for (one, rule), record in zip(found, records, strict=True):
        assert Lines().said(one, rule) == Lines().said(record, office.rules[record.rule])
        assert Json().line(one, rule, 1, False) == Json().line(replace(record), rule, 1, False)
    with pytest.raises(ValueError):
        refusals._answer({"verdict": "allow", "by": "magic", "who": "", "waited_ns": 1, "scope": ""})


def test_who_runs_a_program_is_told_by_its_file():
    from isotrace.asking.who import details, who

    me = who(os.getpid())
    assert me == who(os.getpid()) and me.program == os.path.realpath("/proc/self/exe") and me.started > 0
    assert details(os.getpid()).argv and details(os.getpid()).parents
    gone = who((1 << 22) - 1)
    assert gone.program == "" and details(gone.pid).user == "?" and CAT


def test_a_thing_is_said_in_words():
    assert (
        shown.doing(Thing("tree", "/a/node_modules", "rw"))
        == 'reads and writes or changes what is below "/a/node_modules"'
    )
    assert shown.doing(Thing("call", "kill")) == "calls kill"


def test_lines_wait_until_the_dialogue_is_over(capfd):
    from isotrace.run.asking import Held

    held = Held()
    for number in range(10_005):
        held.write(b"%d\n" % number)
    assert capfd.readouterr().out == ""
    held.release()
    held.write(b"later\n")
    assert capfd.readouterr().out.split() == [*map(str, range(5, 10_005)), "later"]
