"""What an answer covers and what not: calls about several things, names that no pattern has, whoever else answers."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace

import pytest
from askers import ASK, RULES, Office, policy_of, question
from click.testing import CliRunner

from isotrace.asking import dialogue, lasting, shown, things
from isotrace.asking.file import with_rule
from isotrace.asking.lasting import Written
from isotrace.asking.program import Program
from isotrace.asking.replies import Replies
from isotrace.asking.things import single
from isotrace.asking.who import Who
from isotrace.commands.answer import answer
from isotrace.commands.ask import ask
from isotrace.errors import IsotraceError, UsageError
from isotrace.policy import Action, names

ALWAYS = Written("deny-path", "r:/etc/other", Action())


def renamed(number, one="/a/1", other="/b/2"):
    return replace(question(number, one, "w", "rename"), more=((other, "w"),))


def test_what_is_said_of_a_path_is_nothing_about_a_call_whose_path_is_not_known():
    unknown = question(1, "", "", "open_by_handle_at", rule=0)
    policy = lasting.with_answers(policy_of(RULES), [ALWAYS])
    assert lasting.says(policy, unknown) is None
    on_call = policy_of([*RULES, names.parse("open_by_handle_at", action=ASK)])
    assert lasting.says(on_call, unknown) is None
    assert (
        lasting.says(lasting.with_answers(on_call, [Written("allow", "=open_by_handle_at", Action())]), unknown)
        == "allow"
    )
    assert (
        lasting.says(lasting.with_answers(on_call, [Written("deny", "=open_by_handle_at", Action())]), unknown)
        == "deny"
    )


def test_an_answer_about_a_call_without_an_object_is_none_about_one_with_it():
    thing = single(question(1, "", "", "openat"))
    assert thing.covers(question(2, "", "", "openat")) and not thing.covers(question(3, "/etc/shadow", "r"))


@pytest.mark.parametrize("scope", ["process", "program", "always"])
def test_an_answer_about_one_name_of_a_call_is_none_about_its_other(scope):
    office = Office()
    (case,) = office.ask(question(1, "/a/1", "w"))
    rule = lasting.choices(office.desk._policy, case.question, case.thing, "allow", Action())[0]
    office.reply(case, "allow", scope, rule=rule if scope == "always" else None)
    assert office.ask(question(2, "/a/1", "w")) == ()
    assert len(office.ask(renamed(3))) == 1
    assert office.ask(renamed(4, "/a/1", "/a/1"))[0].question.id == 3  # both names are answered: it is not asked again
    assert office.asking.said == {1: "allow", 2: "allow", 4: "allow"}


def test_what_is_not_known_beside_what_is_shown_is_asked_about_each_time():
    office = Office()
    (case,) = office.ask(renamed(1, other=""))
    assert lasting.choices(office.desk._policy, case.question, case.thing, "allow", Action()) == ()
    office.reply(case, "allow", "process")
    assert len(office.ask(renamed(2, other=""))) == 1


@pytest.mark.parametrize("scope", ["process", "program"])
def test_the_end_of_a_path_names_no_file(scope):
    """Two file systems may have files that end alike; and what is above 24 directories is not recorded."""
    office = Office()
    (case,) = office.ask(question(1, ".../file", "w", "truncate"))
    assert lasting.choices(office.desk._policy, case.question, case.thing, "allow", Action()) == ()
    assert not things.single(case.question).covers(question(2, ".../file", "w"))
    assert len(office.ask(question(3, ".../file", "w", "truncate"))) == 2  # nor are they one question
    office.reply(case, "allow", scope)
    assert len(office.ask(question(4, ".../file", "w", "truncate"))) == 2
    assert office.asking.said == {1: "allow"}


@pytest.mark.parametrize("what", ["@zz-a\udcff", "@\n", "@a\x1b[2J"])
def test_an_abstract_name_that_no_rule_can_have_is_answered_for_all_or_not_for_good(what):
    asked = question(1, what, "", "connect")
    found = lasting.choices(policy_of(RULES), asked, single(asked), "allow", Action())
    assert [one.word for one in found] == ["unix:"]


def test_all_that_a_call_is_about_is_shown():
    (case,) = Office().ask(renamed(1))
    assert shown.words(case).what.endswith('"/a/1" and "/b/2"')
    assert shown.as_object(case, {}, ())["also"] == ["/b/2"]


@pytest.mark.parametrize("name", ["\n", "\n\n", "\udcff\udcfe", "a\x1b[2Jb"])
def test_a_name_that_no_pattern_has_is_answered_for_its_directory_or_not_for_good(name):
    asked = question(1, f"/a/b/{name}", "r")
    found = lasting.choices(policy_of(RULES), asked, single(asked), "allow", Action())
    assert [one.word for one in found] == ["r:/a/b/*", "r:/a/b/**", "r:/a/**"]
    below = question(1, f"/a/{name}/key", "r")
    assert [one.word for one in lasting.choices(policy_of(RULES), below, single(below), "allow", Action())] == [
        "r:/a/**"
    ]


def test_the_program_is_the_file_and_not_what_comes_to_stand_in_its_place():
    office, files = Office(), {100: (1, 1), 101: (1, 1), 102: (1, 2)}
    office.desk._asker = lambda pid: Who(pid, 1, "/tmp/prog", files[pid])
    (case,) = office.ask(question(1))
    office.reply(case, "allow", "program")
    assert office.ask(question(2, pid=101)) == ()
    assert len(office.ask(question(3, pid=102))) == 1


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("echo allow; exit 1", "it ended with status 1"),
        ("echo allow; kill -SEGV $$", "it ended with signal 11"),
        ("echo allow; head -c 70000 /dev/zero | tr '\\0' ' '; echo deny", "it printed too much"),
    ],
)
def test_a_program_that_fails_has_not_answered(command, why):
    office, said = Office(), []
    (case,) = office.ask(question(1))
    program = Program(command, Replies(office.desk, None, said.append))
    assert program._asked(case) == why
    program = Program("echo allow", Replies(office.desk, None, said.append))
    assert program._asked(case) == "" and office.asking.said == {1: "allow"}


@pytest.mark.parametrize(
    "group",
    ['[groups.answers]\naction = "audit"\ndeny = "chroot"', '[groups.answers-EACCES]\naction = "kill"\ndeny = "x"'],
)
def test_a_denial_is_not_written_into_a_group_that_does_something_else(group):
    denial = Written("deny-path", "/a", Action(errno=13) if "EACCES" in group else Action())
    with pytest.raises(IsotraceError, match=r"the action of its group .* is not"):
        with_rule(f"version = 1\n{group}\n", denial)


@pytest.mark.parametrize(
    "reply", ["[1]", "null", "{}", '{"questions": 5}', '{"questions": [{}]}', '{"questions": [3]}']
)
def test_whatever_answers_at_a_socket_costs_no_traceback(tmp_path, reply):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def serve():
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(reply.encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        found = CliRunner().invoke(answer, [str(tmp_path / "s"), "list"])
        thread.join()
    assert (
        isinstance(found.exception, IsotraceError)
        and "no isotrace ask answers at that socket" in found.exception.message
    )


def test_what_answers_at_a_socket_writes_nothing_to_the_terminal(tmp_path):
    from isotrace.asking.socket import _printable

    said = {"error": "\x1b]0;x\x07", "questions": [{"comm": "\x9b2J", "line": "plain"}], "count": 1}
    found = json.dumps(_printable(said), ensure_ascii=False)
    assert found.isprintable() and "plain" in found


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--policy", ""], "is not a file"),
        (["--policy", "/dev/null"], "is not a file"),
        (["--policy", "/nonexistent/p.toml"], "there is no directory"),
        ([], "no rule asks"),
    ],
)
def test_a_policy_that_nothing_can_be_written_into_is_noticed_at_once(words, what):
    rule = ["--ask", "kill"] if words else []
    found = CliRunner().invoke(ask, [*rule, *words, "--answer-with", "echo deny", "--", "true"])
    assert isinstance(found.exception, UsageError) and what in found.exception.message and found.exception.hint


def test_the_dialogue_shows_all_that_a_call_is_about_and_rules_that_can_be_told_apart():
    place = "/home/alice/" + "a-long-name/" * 8
    office = Office()
    (case,) = office.ask(renamed(1, f"{place}one", "/b/2"))
    one = shown.as_object(case, {"allow": (), "deny": ()}, ())
    one |= {
        "id": "1.1",
        "seconds_left": 5.0,
        "user": "me",
        "always": {"allow": [f"allow-path w:{place}{end}" for end in ("one", "*", "**")]},
    }
    lines = [line.plain for line in dialogue._about(one, "always", 0, 80)]
    assert any("/b/2" in line for line in lines) and all(len(line) <= 80 for line in lines)
    assert len({line[7:] for line in lines[-3:]}) == 3
