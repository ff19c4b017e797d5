"""A desktop's notification server, for tests: ``notification_server.py ADDRESS ABILITY…``.

Tells what it is asked, a line of JSON each; ``ID KEY`` on standard input presses a button.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys

from jeepney import DBusAddress as Address
from jeepney import HeaderFields, MessageType, message_bus, new_error, new_method_return, new_signal
from jeepney.io.blocking import open_dbus_connection

NAME = "org.freedesktop.Notifications"
shown = 0


def main(address):
    bus = open_dbus_connection(address)
    bus.send_and_get_reply(message_bus.RequestName(NAME))
    print(json.dumps({"name": bus.unique_name}), flush=True)
    emitter = Address("/org/freedesktop/Notifications", interface=NAME)
    while True:
        ready = select.select([bus.sock, sys.stdin], [], [])[0]
        if sys.stdin in ready:
            lines = os.read(0, 65536).decode().splitlines()
            if not lines:
                return
            for number, key in map(str.split, lines):
                bus.send(new_signal(emitter, "ActionInvoked", "us", (int(number), key)))
        if bus.sock in ready:
            serve(bus)


def serve(bus):
    global shown
    with contextlib.suppress(TimeoutError):
        while True:
            message = bus.receive(timeout=0)
            if message.header.message_type is not MessageType.method_call:
                continue
            method = message.header.fields[HeaderFields.member]
            if method == "GetCapabilities":
                bus.send(new_method_return(message, "as", (sys.argv[2:],)))
            elif method == "Notify":
                _, before, _, title, text, actions, _, _ = message.body
                shown += not before
                told = {"id": before or shown, "title": title, "text": text, "actions": actions}
                print(json.dumps(told), flush=True)
                bus.send(new_method_return(message, "u", (before or shown,)))
            elif method == "CloseNotification":
                print(json.dumps({"closed": message.body[0]}), flush=True)
                bus.send(new_method_return(message))
            else:
                bus.send(new_error(message, f"{NAME}.Error"))


main(sys.argv[1])
