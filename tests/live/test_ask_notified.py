"""isotrace ask --notify of a command: answered by a button, on a desktop of the test's own."""

from __future__ import annotations

import shutil

import pytest
from asks import background
from test_ask_desktop import bus, server

from isotrace.enforce.calls import notify

__all__ = ["bus", "server"]

pytestmark = [
    pytest.mark.skipif(not shutil.which("dbus-daemon"), reason="needs dbus-daemon: a bus of the test's own"),
    pytest.mark.skipif(notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"),
]


def test_a_button_lets_a_call_happen_and_another_denies_it(tmp_path, bus, server):
    script = "mkdir one; mkdir two"
    with background(
        "--notify", "--ask", "mkdir", "--", "sh", "-c", script, cwd=tmp_path, DBUS_SESSION_BUS_ADDRESS=bus
    ) as run:
        first = server.next()
        assert "mkdir" in first["title"] and 'mkdir("one", 0777)' in first["text"]
        server.press(first["id"], "allow")
        assert server.next() == {"closed": first["id"]}
        server.press(server.next()["id"], "deny")
        out, err = run.communicate(timeout=300)
    assert (tmp_path / "one").exists() and not (tmp_path / "two").exists()
    assert "on the desktop" in out and "whoever reaches the session bus can answer there" in err


def test_without_a_desktop_it_is_said_before_anything_starts(tmp_path):
    words = ("--notify", "--ask", "mkdir", "--", "mkdir", "new")
    with background(*words, cwd=tmp_path, DBUS_SESSION_BUS_ADDRESS="unix:path=/nonexistent") as run:
        _, err = run.communicate(timeout=300)
    assert run.returncode == 1 and "cannot show questions on a desktop" in err and not (tmp_path / "new").exists()
