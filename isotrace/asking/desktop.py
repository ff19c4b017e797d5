"""Questions as notifications on a desktop (``--notify``): the oldest few, with buttons where the desktop has such."""

from __future__ import annotations

import os
import select
import socket
from typing import Any

import orjson

from isotrace.asking import bus
from isotrace.asking.background import Background
from isotrace.asking.desk import Case
from isotrace.asking.replies import OTHERWISE, Replies
from isotrace.errors import IsotraceError, UsageError
from isotrace.process import children
from isotrace.process.caller import caller

_AT_ONCE = 3  # notifications: a desktop is covered soon
_TICK = 0.2
_READY = 15.0
_LONGEST = 400  # characters of a line


class Desktop:
    """The process that talks to the session bus of whoever started isotrace. Raises ``IsotraceError`` where there is none.

    To be made while isotrace has one thread.
    """

    def __init__(self) -> None:
        user = caller()
        self.user = user.name if user else "this user"
        address = _address(user.uid if user else os.getuid())
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = children.fork()
        if self.pid == 0:
            try:
                self.link.close()
                bus.become(user, address, theirs)
            finally:
                os._exit(0)
        theirs.close()
        said = self._first()
        if "ready" not in said:
            self.end()
            why = said.get("failed", "no answer")
            raise IsotraceError(f"cannot show questions on a desktop: {why}", "leave out --notify")
        self.actions = bool(said["actions"])

    def _first(self) -> dict[str, Any]:
        ready = select.select([self.link], [], [], _READY)[0]
        data = self.link.recv(bus.PACKET) if ready else b""
        return dict(orjson.loads(data)) if data else {}

    def end(self) -> None:
        """Take all notifications back."""
        self.link.close()
        os.waitpid(self.pid, 0)


def _address(uid: int) -> str:
    """Of the session bus: as the environment has it, else where systemd puts a user's. Raises ``UsageError``."""
    if address := os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return address
    path = f"/run/user/{uid}/bus"
    if os.path.exists(path):
        return f"unix:path={path}"
    raise UsageError("--notify: there is no session bus", "start isotrace from a desktop session, or leave it out")


class Notifications(Background):
    """Shows what is asked at ``desktop``, and takes answers for this once."""

    def __init__(self, desktop: Desktop, replies: Replies) -> None:
        self._desktop, self._replies = desktop, replies
        self._shown: dict[int, str] = {}  # question → its name as it was shown
        super().__init__("notify", self._run)

    def end(self) -> None:
        """Ask no more there."""
        super().end()
        self._desktop.end()

    def _run(self) -> None:
        try:
            while not self.over.is_set():
                self._show(self._replies.desk.cases()[:_AT_ONCE])
                if select.select([self._desktop.link], [], [], _TICK)[0]:
                    data = self._desktop.link.recv(bus.PACKET)
                    if not data:
                        raise IsotraceError("it is gone")
                    self._hear(orjson.loads(data))
        except (OSError, IsotraceError) as error:
            self._replies.say(f"the desktop is told of no more questions: {error}")

    def _show(self, cases: tuple[Case, ...]) -> None:
        for number in self._shown.keys() - {case.number for case in cases}:
            del self._shown[number]
            self._tell({"close": number})
        for case in cases:
            if self._shown.get(case.number) != f"{case.number}.{case.upto}":
                one = self._replies.as_object(case)
                self._shown[case.number] = one["id"]
                self._tell({"show": case.number, "title": title(one), "text": text(one)})

    def _tell(self, said: dict[str, Any]) -> None:
        self._desktop.link.send(orjson.dumps(said))

    def _hear(self, said: dict[str, Any]) -> None:
        if "failed" in said:
            raise IsotraceError(str(said["failed"]))
        name = self._shown.get(said["answer"])
        if name is None:
            return
        try:
            self._replies.answer(name, [said["verdict"]], "person", f"{self._desktop.user}, on the desktop")
        except UsageError as error:
            self._replies.say(f"the answer on the desktop came too late: {error.message}")


def title(one: dict[str, Any]) -> str:
    """``cat 4242 reads "/srv/key"``; what is in it is escaped already."""
    return _cut(f"{one['comm']} {one['pid']} {one['covers']}")


def text(one: dict[str, Any]) -> str:
    """Who it is, the call, and what becomes of it."""
    more = f"\n{one['waiting']} calls wait" if one["waiting"] > 1 else ""
    who = _cut(f"{one['user']}: {' '.join(one['argv'])}")
    return f"{who}\n{_cut(one['line'])}{more}\nWithout an answer it is {OTHERWISE[one['default']]}."


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
