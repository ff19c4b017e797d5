"""Notifications on a session bus (org.freedesktop.Notifications), in a process of its own that is its user's.

A bus takes connections of its own user, which isotrace is not under sudo. What the process is told and tells is JSON, a
packet each: ``{"show": 3, "title": …, "text": …}``, ``{"close": 3}``; ``{"answer": 3, "verdict": "allow"}``.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections import deque
from typing import Any

import orjson
from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, message_bus, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from isotrace.process.caller import Caller

PACKET = 65536
_NAME = "org.freedesktop.Notifications"
_SERVER = DBusAddress("/org/freedesktop/Notifications", bus_name=_NAME, interface=_NAME)
_PATIENCE = 5.0
_URGENT, _NEVER = 2, 0
_ACTIONS = ("allow", "Allow once", "deny", "Deny")


class Trouble(Exception):
    """The server does not do what it should."""


class Notifier:
    """Shows questions on the bus at ``address``, and tells of the buttons that are pressed by ``link``."""

    def __init__(self, address: str, link: socket.socket) -> None:
        self._link = link
        self._bus: DBusConnection = open_dbus_connection(address, auth_timeout=_PATIENCE)
        self._signals: deque[Message] = deque()
        self._shown: dict[int, int] = {}  # question → notification
        self._owner = ""
        rule = MatchRule(type="signal", interface=_NAME, path=_SERVER.object_path)
        self._filter = self._bus.filter(rule, queue=self._signals)
        self._filter.__enter__()
        self._call(message_bus.AddMatch(rule))
        self._abilities = frozenset(self._ask("GetCapabilities")[0])

    def serve(self) -> None:
        """Until isotrace ends, or the bus does. Raises ``OSError``, ``Trouble``."""
        self._tell({"ready": True, "actions": "actions" in self._abilities})
        while True:
            with contextlib.suppress(TimeoutError):  # what came with a reply is not on the socket any more
                while True:
                    self._bus.recv_messages(timeout=0)
            while self._signals:
                self._hear(self._signals.popleft())
            if self._link in select.select([self._link, self._bus.sock], [], [])[0]:
                data = self._link.recv(PACKET)
                if not data:
                    break
                self._do(orjson.loads(data))
        for number in list(self._shown):
            self._close(number)

    def _do(self, said: dict[str, Any]) -> None:
        if "show" in said:
            self._show(said["show"], said["title"], said["text"])
        elif "close" in said:
            self._close(said["close"])

    def _show(self, number: int, title: str, text: str) -> None:
        """Anew in its place where it is shown already."""
        if "body-markup" in self._abilities:
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        actions = list(_ACTIONS) if "actions" in self._abilities else []
        hints = {"urgency": ("y", _URGENT)}
        before = self._shown.get(number, 0)
        body = ("isotrace", before, "dialog-question", title, text, actions, hints, _NEVER)
        (self._shown[number],) = self._ask("Notify", "susssasa{sv}i", body)

    def _close(self, number: int) -> None:
        shown = self._shown.pop(number, None)
        if shown is not None:
            with contextlib.suppress(Trouble):  # it is gone already
                self._ask("CloseNotification", "u", (shown,))

    def _hear(self, message: Message) -> None:
        """Only of the server: anybody on the bus can send a signal that looks like one."""
        fields = message.header.fields
        if fields.get(HeaderFields.sender) != self._owner or fields.get(HeaderFields.member) != "ActionInvoked":
            return
        shown, key = message.body
        number = next((one for one, known in self._shown.items() if known == shown), None)
        if number is not None and key in _ACTIONS[::2]:
            self._tell({"answer": number, "verdict": key})

    def _ask(self, method: str, signature: str | None = None, body: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        return self._call(new_method_call(_SERVER, method, signature, body))

    def _call(self, message: Message) -> tuple[Any, ...]:
        reply = self._bus.send_and_get_reply(message, timeout=_PATIENCE)
        if reply.header.message_type is MessageType.error:
            raise Trouble(str(reply.body[0]) if reply.body else "an error without a text")
        if message.header.fields.get(HeaderFields.destination) == _NAME:
            self._owner = reply.header.fields.get(HeaderFields.sender, "")
        return tuple(reply.body)

    def _tell(self, said: dict[str, Any]) -> None:
        self._link.send(orjson.dumps(said))


def become(user: Caller | None, address: str, link: socket.socket) -> None:
    """The process: ``user`` is whose bus it is, None where that is isotrace's own. Returns when it is over."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(one, signal.SIG_IGN)
    os.closerange(3, link.fileno())
    os.closerange(link.fileno() + 1, 1 << 20)
    try:
        if user:
            user.become()
        Notifier(address, link).serve()
    except Exception as error:
        with contextlib.suppress(OSError):
            link.send(orjson.dumps({"failed": str(error) or type(error).__name__}))
