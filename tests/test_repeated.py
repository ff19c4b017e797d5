"""What was made of a call is kept: the lines are those that there would be without that."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from records import Collected, batch, make, string

from isotrace.decode.netlink import GENERIC
from isotrace.render import repeated
from isotrace.sinks.formats import Beside
from isotrace.sinks.json import Json
from isotrace.sinks.text import Text
from isotrace.trace import events, plan
from isotrace.trace.events import Blob

CALLS = plan.all_calls()
SLOTS = {(call.name, call.abi): slot for slot, call in CALLS.items()}
OPENAT, EXECVE, RECVFROM, GETPPID = (SLOTS[name, "x86_64"] for name in ("openat", "execve", "recvfrom", "getppid"))
SINKS = {"text": Text, "json": Json}


def lines(style: str, *batches, kept=True, **beside) -> list[str]:
    """What one sink writes of these batches, and without keeping anything."""
    output = Collected()
    sink = SINKS[style](output, CALLS, Beside(**beside))
    if not kept:
        sink._calls._keeps[:] = False
    for one in batches:
        sink.write(one)
    return output.lines


def some(seed: int) -> list[bytes]:
    """Records of every call there is, with arguments and memory by chance, each several times in some order; the same call
    also by others, at other times, with other values in registers that it does not look at.
    """
    chance = random.Random(seed)
    found = []
    for slot, call in CALLS.items():
        args = [chance.choice((0, 3, 2**64 - 100, chance.getrandbits(64), chance.getrandbits(5))) for _ in call.args]
        parts = [(chance.randrange(6), chance.choice((0, 0, 0, 1, 2, 6))) for _ in range(chance.randrange(3))]
        blobs = [
            Blob(arg, part, chance.randrange(3), 40, chance.randbytes(chance.choice((0, 8, 40)))) for arg, part in parts
        ]
        result, later = chance.choice((0, 3, -2, -516, chance.getrandbits(31))), chance.choice((0, 0, 0, 1))
        for _ in range(3):
            unused = [chance.getrandbits(64) for _ in range(6 - len(args))]
            given = (*args, *unused)[:6] if slot != events.SLOT_UNKNOWN else args
            found.append(
                make(
                    slot,
                    given,
                    result,
                    blobs=blobs,
                    pid=chance.randrange(1, 9),
                    comm=chance.choice((b"a", b"b c")),
                    kind=chance.choice((events.CALL, events.CALL, events.CALL, events.UNFINISHED)),
                    later=later,
                    duration=chance.randrange(3000),
                    time=chance.getrandbits(40),
                    abi=events.ABI_NAMES.index(call.abi),
                )
            )
    chance.shuffle(found)
    return found


@pytest.mark.parametrize("style", SINKS)
@pytest.mark.parametrize("beside", [{}, {"durations": True, "clock": 2, "descriptors": 1}, {"pids": True}], ids=str)
def test_lines_do_not_depend_on_what_came_before(style, beside):
    records = some(1)
    batches = [replace(batch(*records[i : i + 300]), wall=0) for i in range(0, len(records), 300)]
    assert lines(style, *batches, **beside) == lines(style, *batches, kept=False, **beside)


@pytest.mark.parametrize("style", SINKS)
def test_equal_calls_are_rendered_once(style, monkeypatch):
    rendered = []
    decode = repeated.Decoder.decode

    def noting(self, given, among=None):
        for group in decode(self, given, among):
            rendered.extend(group.rows.index)
            yield group

    monkeypatch.setattr(repeated.Decoder, "decode", noting)
    one = [make(OPENAT, (3, 1, 0), 4, blobs=[string(1, b"/etc")], pid=pid, time=pid, duration=pid) for pid in (1, 2, 3)]
    assert len(lines(style, batch(*one), batch(*one))) == 6
    assert len(rendered) == 1


@pytest.mark.parametrize("style", SINKS)
def test_the_name_of_a_family_is_that_of_the_records_own_time(style):
    data = bytes([20, 0, 0, 0, 31, 0, 1, 0]) + bytes(12)
    blobs = [
        Blob(1, events.PART_SELF, events.WHOLE, 20, data),
        Blob(0, events.PART_NETLINK, events.WHOLE, GENERIC, b""),
    ]
    one = batch(make(RECVFROM, (3, 0x1000, 20, 0, 0, 0), 20, blobs=blobs))
    before, after = lines(style, replace(one, families={31: "one"}), replace(one, families={31: "two"}))
    assert ("one" in before, "two" in after) == (True, True)


def test_no_more_is_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(repeated, "_LIMIT", 20_000)
    output = Collected()
    sink = Text(output, CALLS)
    for i in range(50):
        sink.write(batch(*(make(OPENAT, (i, 1, j), 4, blobs=[string(1, b"/etc")]) for j in range(20))))
        assert len(sink._calls._known) < 100
    assert [line.split("(")[1].split(",")[0] for line in output.lines] == [str(i) for i in range(50) for _ in range(20)]


def test_an_execve_has_what_it_was_given_each_time():
    def execve(path: bytes, stamp: int) -> list[bytes]:
        begin = make(EXECVE, (1, 2, 3, 0, 0, stamp), kind=events.EXEC_ENTER, blobs=[string(0, path)])
        return [begin, make(EXECVE, (0, 0, 0, 0, 0, stamp), 0)]

    found = lines("text", batch(*execve(b"/bin/a", 7), *execve(b"/bin/b", 7)), batch(*execve(b"/bin/c", 7)))
    assert [line.split('"')[1] for line in found] == ["/bin/a", "/bin/b", "/bin/c"]


def test_a_batch_of_nothing():
    assert lines("text", batch()) == lines("json", batch()) == []
