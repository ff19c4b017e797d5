"""Losses: what was lost since the last look, whose, and how it stands in the text and in JSON."""

from __future__ import annotations

import json

import pytest

from isotrace.backends import Loss
from isotrace.backends.losses import Losses, missing
from isotrace.sinks.json import Json
from isotrace.sinks.text import Text
from isotrace.trace.plan import all_calls, slot_of


class Output:
    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data


READ, OPEN = slot_of("x86_64", 0), slot_of("x86_64", 257)


def test_only_what_came_since_the_last_look_is_told():
    losses = Losses()
    first = losses.since({(7, b"cat", READ): 3}, {})
    assert first == [Loss(7, b"cat", READ, 3)]
    second = losses.since({(7, b"cat", READ): 5, (8, b"ls", OPEN): 1}, {})
    assert second == [Loss(7, b"cat", READ, 2), Loss(8, b"ls", OPEN, 1)]
    assert losses.since({(7, b"cat", READ): 5, (8, b"ls", OPEN): 1}, {}) == []


def test_what_had_no_room_is_nobodys():
    losses = Losses()
    assert losses.since({(7, b"cat", READ): 3}, {READ: 10}) == [Loss(7, b"cat", READ, 3), Loss(0, b"", READ, 7)]
    assert losses.since({(7, b"cat", READ): 4}, {READ: 11}) == [Loss(7, b"cat", READ, 1)]


@pytest.mark.parametrize(
    ("slot", "text", "call"),
    [(READ, "*** 12 read calls lost here ***", "read"), (1023, "*** 12 unknown calls lost here ***", None)],
)
def test_a_loss_is_a_line_in_its_place(slot, text, call):
    lines, objects = Output(), Output()
    batch = missing([Loss(7, b"c\nt", slot, 12)])
    Text(lines, all_calls()).write(batch)
    assert lines.data.decode() == f'7 "c\\nt"  {text}\n'
    Json(objects, all_calls()).write(batch)
    found = json.loads(objects.data)
    assert (found["type"], found["pid"], found["call"], found["result"], found["value"]) == ("lost", 7, call, 12, text)
