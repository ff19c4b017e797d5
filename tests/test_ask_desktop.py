"""Questions on a desktop: a bus of the test's own, with a notification server of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from askers import Office, question
from jeepney import DBusAddress, new_signal
from jeepney.io.blocking import open_dbus_connection

from isotrace.asking.desktop import Desktop, Notifications
from isotrace.asking.replies import Replies
from isotrace.errors import IsotraceError, UsageError

pytestmark = pytest.mark.skipif(not shutil.which("dbus-daemon"), reason="needs dbus-daemon: a bus of the test's own")
SERVER = Path(__file__).with_name("notification_server.py")
HOSTILE = "/a/\x1b[2J\n\u202e<b>x</b>&"


@pytest.fixture
def bus(monkeypatch):
    daemon = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address"], stdout=-1, stderr=-3, text=True
    )
    address = daemon.stdout.readline().strip()
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    monkeypatch.delenv("SUDO_UID", raising=False)
    yield address
    daemon.terminate()
    daemon.communicate()


class Server:
    def __init__(self, address, *abilities, user=()):
        command = [*user, sys.executable, SERVER, address, *abilities]
        self.process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
        self.name = self.next()["name"]

    def next(self):
        return json.loads(self.process.stdout.readline())

    def press(self, number, key):
        self.process.stdin.write(f"{number} {key}\n")
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def server(bus):
    found = Server(bus, "actions", "body", "body-markup")
    yield found
    found.end()


@pytest.fixture
def told(server):
    """A desk whose questions are told; the thread and the process behind it end with the test."""
    office, said = Office(), []
    office.clock.now = 1e9
    shown = Notifications(Desktop(), Replies(office.desk, None, said.append))
    shown.start()
    office.said, office.shown = said, shown
    yield office
    shown.end()


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize("verdict", ["allow", "deny"])
def test_a_button_answers_for_this_once_and_the_notification_goes(server, told, verdict):
    told.ask(question(1, "/a/x"))
    shown = server.next()
    assert shown["title"] == 'cat 100 reads "/a/x"' and "Without an answer it is denied." in shown["text"]
    assert shown["actions"] == ["allow", "Allow once", "deny", "Deny"]
    server.press(shown["id"], verdict)
    assert server.next() == {"closed": shown["id"]} and told.asking.said == {1: verdict}
    (record,) = told.desk.drain()
    assert record.answer.by == "person" and record.answer.who.endswith("on the desktop")


def test_what_comes_to_a_question_is_shown_in_its_place_and_one_that_is_gone_is_taken_back(server, told):
    told.ask(question(1, "/a/x"))
    first = server.next()
    told.ask(question(2, "/a/y"))
    second = server.next()
    assert second["id"] == first["id"] and "2 calls wait" in second["text"]
    told.asking.kill(1)
    told.asking.kill(2)
    told.wait()
    assert server.next() == {"closed": first["id"]}


def test_hostile_names_are_escaped_for_the_desktop_too(server, told):
    told.ask(question(1, HOSTILE))
    shown = server.next()
    text = shown["title"] + shown["text"].replace("\n", "")
    assert text.isprintable() and text.isascii() and "<b>" not in shown["text"]


def test_a_few_are_shown_at_a_time_and_the_rest_when_these_are_answered(server, told):
    told.ask(*(question(n, f"/{n}/x") for n in range(1, 9)))
    shown = [server.next() for _ in range(3)]
    assert [one["title"] for one in shown] == [f'cat 100 reads "/{n}/x"' for n in (1, 2, 3)]
    server.press(shown[0]["id"], "deny")
    assert server.next() == {"closed": shown[0]["id"]} and server.next()["title"] == 'cat 100 reads "/4/x"'


def test_what_another_program_says_in_the_servers_place_is_no_answer(bus, server, told):
    told.ask(question(1, "/a/x"))
    shown = server.next()
    liar = open_dbus_connection(bus)
    place = DBusAddress("/org/freedesktop/Notifications", interface="org.freedesktop.Notifications")
    liar.send(new_signal(place, "ActionInvoked", "us", (shown["id"], "allow")))
    server.press(shown["id"], "nonsense")
    server.press(shown["id"] + 7, "allow")
    server.press(shown["id"], "deny")  # comes after all of that
    until(lambda: told.asking.said)
    assert told.asking.said == {1: "deny"}


def test_a_server_without_buttons_shows_and_is_no_place_to_answer(bus):
    found = Server(bus)
    office = Office()
    desktop = Desktop()
    shown = Notifications(desktop, Replies(office.desk, None, print))
    shown.start()
    office.ask(question(1, "/a/<x>"))
    told = found.next()
    assert told["actions"] == [] and not desktop.actions and "&lt;" not in told["text"]
    shown.end()
    found.end()
    assert office.asking.said == {}


def test_a_server_that_goes_is_said_and_allows_nothing(server, told):
    told.ask(question(1, "/a/x"))
    server.next()
    server.end()
    told.ask(question(2, "/b/x"))
    until(lambda: told.said)
    assert "the desktop is told of no more questions" in told.said[0] and told.asking.said == {}


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, and setpriv: another user's bus"
)
def test_under_sudo_it_is_the_desktop_of_who_called_it(monkeypatch):
    """A session bus takes nobody but its own user, not even root."""
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    command = (*user, "dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address")
    daemon = subprocess.Popen(command, stdout=-1, stderr=-3, text=True)
    address = daemon.stdout.readline().strip()
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    try:
        with pytest.raises(IsotraceError, match="cannot show questions on a desktop"):
            monkeypatch.delenv("SUDO_UID", raising=False)
            Desktop()
        monkeypatch.setenv("SUDO_UID", "65534")
        monkeypatch.delenv("SUDO_GID", raising=False)
        server = Server(address, "actions", user=user)
        desktop = Desktop()
        assert desktop.actions and "Uid:\t65534" in Path(f"/proc/{desktop.pid}/status").read_text()
        desktop.end()
        server.end()
    finally:
        daemon.terminate()
        daemon.communicate()


def test_without_a_bus_or_a_server_it_is_said_before_anything_starts(bus, monkeypatch):
    with pytest.raises(IsotraceError, match="cannot show questions on a desktop"):
        Desktop()
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
    with pytest.raises(IsotraceError, match="cannot show questions on a desktop"):
        Desktop()
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    with pytest.raises(UsageError, match="there is no session bus"):
        Desktop()
