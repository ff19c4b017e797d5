"""Questions over the live table: the dialogue comes by itself, answers, and goes; the table's keys stay the table's."""

from __future__ import annotations

import asyncio

import pytest
from askers import Fake, question, until
from test_top_app import Deputy, Tape, tables, text

from isotrace.asking import dialogue
from isotrace.asking.dialogue import Talker
from isotrace.top.app import TopApp

__all__ = ["tables"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(dialogue, "_UNSEEN", 0.0)


def drive(tables, fake, keys):
    async def run():
        deputy = Deputy()
        app = TopApp(Tape(tables), "t", "call", deputy, "", fake and Talker(fake, lambda: None))
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            await keys(app, pilot)
        return deputy

    return asyncio.run(run())


def shows(app, words):
    return any(words in line for line in text(app))


def test_a_question_comes_over_the_table_is_answered_and_the_table_is_there_again(tables, tmp_path):
    fake = Fake(tmp_path, question(1, "/a/x"))

    async def keys(app, pilot):
        await until(pilot, lambda: shows(app, "reads") and shows(app, "/a/x"))
        await pilot.press("p", "d")  # for the process; the table would pause, and refuse
        await until(pilot, lambda: fake.office.asking.said)
        await until(pilot, lambda: shows(app, "calls/s") and shows(app, "denied 1 call"))
        assert not app._paused

    assert drive(tables, fake, keys).asked == []
    assert fake.given == [("1.1", ["deny", "process"])] and fake.office.asking.said == {1: "deny"}


def test_who_goes_back_to_the_table_sees_that_it_waits_and_can_come_back(tables, tmp_path):
    fake = Fake(tmp_path, question(1, "/a/x"))

    async def keys(app, pilot):
        await until(pilot, lambda: shows(app, "/a/x"))
        await pilot.press("escape")
        await until(pilot, lambda: shows(app, "1 question, 1 call wait: a shows them"))
        fake.office.ask(question(2, "/b/x"))
        await until(pilot, lambda: shows(app, "2 questions, 2 calls wait"))  # and does not come by itself
        await pilot.press("p")
        assert app._paused
        await pilot.press("a")
        await until(pilot, lambda: shows(app, "/b/x"))
        await pilot.press("a")
        await until(pilot, lambda: fake.office.asking.said)

    drive(tables, fake, keys)
    assert fake.office.asking.said == {1: "allow"}


def test_once_all_is_answered_the_next_comes_by_itself_again(tables, tmp_path):
    fake = Fake(tmp_path, question(1, "/a/x"))

    async def keys(app, pilot):
        await until(pilot, lambda: shows(app, "/a/x"))
        await pilot.press("q")
        fake.office.asking.kill(1)
        fake.office.wait()
        await until(pilot, lambda: not app._questions.found["count"])
        fake.office.ask(question(2, "/b/x"))
        await until(pilot, lambda: shows(app, "/b/x"))

    drive(tables, fake, keys)


def test_it_does_not_come_over_what_the_table_is_asked(tables, tmp_path):
    fake = Fake(tmp_path)

    async def keys(app, pilot):
        await pilot.press("question_mark")
        fake.office.ask(question(1, "/a/x"))
        await until(pilot, lambda: app._questions.found["count"])
        assert not shows(app, "/a/x")
        await pilot.press("x")
        await until(pilot, lambda: shows(app, "/a/x"))

    drive(tables, fake, keys)


def test_nor_while_a_filter_is_typed(tables, tmp_path):
    fake = Fake(tmp_path)

    async def keys(app, pilot):
        await pilot.press("slash", "r")
        fake.office.ask(question(1, "/a/x"))
        await until(pilot, lambda: app._questions.found["count"])
        await pilot.press("e", "a", "enter")
        assert app._orders["call"].needle == "rea" and fake.given == []
        await until(pilot, lambda: shows(app, "/a/x"))

    drive(tables, fake, keys)


def test_where_nobody_is_asked_the_key_says_so(tables):
    async def keys(app, pilot):
        await pilot.press("a")
        await until(pilot, lambda: shows(app, "isotrace ask --top asks"))

    drive(tables, None, keys)


def test_what_ends_the_questions_ends_the_table(tables, tmp_path):
    fake = Fake(tmp_path)
    fake.failure = RuntimeError("broken")

    async def keys(app, pilot):
        await until(pilot, lambda: app.failure is fake.failure)

    drive(tables, fake, keys)
