"""The dialogue, driven by keys through Textual's pilot: what it shows at 80×24, and what each key answers."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from askers import Fake, question, until

from isotrace.asking import dialogue
from isotrace.asking.dialogue import Dialogue, Talker, screen
from isotrace.errors import IsotraceError, UsageError
from isotrace.process import telling


def drive(fake, keys, size=(80, 24)):
    """Press keys, each once the screen has something of what the one before did; returns what was on it at the end."""

    async def run():
        app = Dialogue(Talker(fake, lambda: None), "test")
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.asking.found["count"])
            await keys(app, pilot)
            return str(app.query_one("#all").visual)

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(dialogue, "_UNSEEN", 0.0)


@pytest.mark.parametrize(("key", "verdict"), [("a", "allow"), ("d", "deny"), ("k", "kill")])
@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("", []),
        ("o", []),
        ("p", ["process"]),
        ("g", ["program"]),
        ("t", ["10m"]),
        ("w", ["{} r:/etc/passwd"]),
        ("2", ["{} r:/etc/*"]),
    ],
)
def test_one_key_answers_for_what_is_chosen(tmp_path, key, verdict, scope, words):
    fake = Fake(tmp_path, question(1))

    async def keys(app, pilot):
        await pilot.press(*scope, key)
        await until(pilot, lambda: fake.office.asking.said)

    drive(fake, keys)
    kind = "allow-path" if verdict == "allow" else "deny-path"
    wanted = [word.format(kind) for word in words]
    assert fake.given == [("1.1", [verdict, *(["always"] if "path" in "".join(wanted) else []), *wanted])]
    assert fake.office.asking.said == {1: verdict}


def test_after_an_answer_the_next_is_for_once_again(tmp_path):
    fake = Fake(tmp_path, question(1, "/a/x"), question(2, "/b/x"))

    async def keys(app, pilot):
        await pilot.press("g", "a")
        await until(pilot, lambda: len(fake.office.asking.said) == 1 and app.asking.found["count"] == 1)
        await pilot.press("a")
        await until(pilot, lambda: len(fake.office.asking.said) == 2)

    drive(fake, keys)
    assert [words for _, words in fake.given] == [["allow", "program"], ["allow"]]


def test_arrows_choose_another_question_and_the_cursor_stays_with_it(tmp_path):
    fake = Fake(tmp_path, *(question(n, f"/{n}/x") for n in (1, 2, 3)))

    async def keys(app, pilot):
        await pilot.press("down", "down", "down", "up")
        fake.office.asking.kill(1)
        fake.office.wait()
        await until(pilot, lambda: app.asking.found["count"] == 2)
        await pilot.press("d")
        await until(pilot, lambda: fake.office.asking.said)

    drive(fake, keys)
    assert fake.office.asking.said == {2: "deny"}


def test_a_key_that_was_meant_for_a_question_that_is_over_answers_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(dialogue, "_UNSEEN", 1000.0)
    fake = Fake(tmp_path, question(1, "/a/x"), question(2, "/b/x"))

    async def keys(app, pilot):
        await pilot.press("down", "up")  # who moves has seen where to
        fake.office.asking.kill(1)
        fake.office.wait()
        await until(pilot, lambda: app.asking.found["count"] == 1)
        await pilot.press("a")
        await pilot.pause(0.6)

    assert "look at it first" in drive(fake, keys)
    assert fake.given == [] and fake.office.asking.said == {}


def test_what_has_come_since_it_was_drawn_is_not_answered_with_it(tmp_path):
    fake = Fake(tmp_path, question(1, "/a/x"))

    async def keys(app, pilot):
        fake.listed = lambda: app.asking.found  # nothing new is drawn
        fake.office.ask(question(2, "/a/secret"))
        await pilot.press("a")
        await until(pilot, lambda: fake.office.asking.said)

    drive(fake, keys)
    assert fake.office.asking.said == {1: "allow"}


def test_an_answer_that_comes_too_late_is_said_to(tmp_path):
    fake = Fake(tmp_path, question(1), question(2, "/b/x"))

    async def keys(app, pilot):
        shown = app.asking.found
        fake.listed = lambda: shown
        fake.office.asking.kill(1)
        fake.office.wait()
        await pilot.press("a")
        await until(pilot, lambda: app.asking.said)

    assert "no longer waits" in drive(fake, keys)


@pytest.mark.parametrize("failure", [IsotraceError("gone"), UsageError("no"), RuntimeError("broken")])
def test_where_questions_come_from_no_more_it_ends_and_says_why(tmp_path, failure):
    fake = Fake(tmp_path, question(1))
    talker = Talker(fake, lambda: None)

    async def run():
        app = Dialogue(talker, "test")
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: app.asking.found["count"])
            fake.failure = failure
            await until(pilot, lambda: talker.failure is not None)

    asyncio.run(run())
    assert talker.failure is failure and fake.office.asking.said == {}


def test_it_ends_when_the_run_does(tmp_path):
    fake, over = Fake(tmp_path, question(1)), threading.Event()
    talker = Talker(fake, lambda: "over" if over.is_set() else None)

    async def run():
        app = Dialogue(talker, "test")
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: app.asking.found["count"])
            over.set()
            await until(pilot, lambda: not app.is_running)

    asyncio.run(run())
    assert fake.office.asking.said == {}


def test_what_isotrace_says_meanwhile_is_shown(tmp_path):
    fake = Fake(tmp_path, question(1))

    async def keys(app, pilot):
        fake.lines = ["cannot write p.toml"]
        await until(pilot, lambda: app.asking.said)

    assert "cannot write p.toml" in drive(fake, keys)


def test_lines_for_standard_error_wait_while_something_has_the_screen(capfd):
    with telling.Screen() as lines:
        telling.tell(["one", "two"])
        assert lines.news() == ["one", "two"] and lines.news() == [] and capfd.readouterr().err == ""
    assert capfd.readouterr().err == "isotrace: one\nisotrace: two\n"
    telling.say("three")
    assert capfd.readouterr().err == "isotrace: three\n"


HOSTILE = "/a/\x1b[2J\n\u202e\udcff[b]" + "x" * 300


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (200, 60)])
@pytest.mark.parametrize("scope", ["once", "always"])
def test_the_screen_is_as_large_as_the_terminal_whatever_is_asked(tmp_path, size, scope):
    fake = Fake(tmp_path, *(question(n, f"{HOSTILE}/{n // 3}", pid=os.getpid() if n < 3 else n) for n in range(100)))
    lines = screen(fake.listed(), 1, scope, 0, ["x" * 300], "t" * 300, size)
    assert len(lines) == size[1] and all(len(line.plain) <= size[0] for line in lines)
    text = "".join(line.plain for line in lines)
    assert "\x1b" not in text and "\u202e" not in text and "\n" not in text
    assert "a allow" in lines[-1].plain and "calls wait" in lines[0].plain


def test_files_of_one_directory_are_listed_by_their_names_and_always_only_where_it_can_be_written(tmp_path):
    fake = Fake(tmp_path, question(1, "/srv/app/a"), question(2, "/srv/app/b"))
    text = "\n".join(line.plain for line in screen(fake.listed(), 1, "once", 0, [], "t", (80, 24)))
    assert "\n       a  b\n" in text and "w always" in text
    fake.replies._file = None
    fake.office.ask(question(3, "/srv/app/c"))
    text = "\n".join(line.plain for line in screen(fake.listed(), 1, "once", 0, [], "t", (80, 24)))
    assert "\n       a  b  c\n" in text and "w always" not in text


def test_a_long_path_is_shortened_in_its_middle(tmp_path):
    fake = Fake(tmp_path, question(1, "/srv/" + "x" * 200 + "/key"))
    row = screen(fake.listed(), 1, "once", 0, [], "t", (80, 24))[1].plain
    assert len(row) <= 80 and "…" in row and row.rstrip().endswith('/key"') and "cat 100" in row


def test_nothing_asked_is_said(tmp_path):
    lines = screen({"questions": [], "count": 0, "calls": 0}, 0, "once", 0, ["allowed 1 call"], "t", (80, 24))
    text = "\n".join(line.plain for line in lines)
    assert "Nothing is asked now." in text and "allowed 1 call" in text and len(lines) == 24
