"""Who is a member: processes whose number, leader, parent or name changes, by objects and by number."""

from __future__ import annotations

from collections.abc import Iterator

from tests.vm.attacks import REFUSED, Announced, Expected, Row, by

_FILE = "echo secret >secret; chmod 644 secret"
_LOW = "most=$(cat /proc/sys/kernel/pid_max); echo 700 >/proc/sys/kernel/pid_max"
_HIGH = "echo $most >/proc/sys/kernel/pid_max"
#: A parent that isotrace is told of by its number; it begins when a line arrives.
_PARENT = (
    "mkfifo -m 666 fifo; (exec >/dev/null 2>&1; ATTACK_WAITS=1 exec BIN/lives parricide PLACE HERE/came <fifo) & "
    "echo $! >pid"
)
_ORPHAN = "echo go >fifo; until test -s came; do sleep 0.1; done; grep -q THROUGH came"
_EXECUTED = "a program executed under another is not concerned"


def _both(
    name: str,
    attack: tuple[str, ...] | str,
    expect: Expected = REFUSED,
    whom: tuple[str, ...] = (),
    setup: str = "true",
    **more: object,
) -> Iterator[Row]:
    """The attack on a rule on a file, by objects, and on one on a call, by number. ``PLACE`` is what is tried to reach."""
    for place, note, rule, found in (
        ("HERE/secret", "", ("--deny-path", "HERE/secret"), by(expect)),
        ("HERE/made", " (by number)", ("--deny", "mkdir"), by(numbers=expect)),
    ):
        words = (attack,) if isinstance(attack, str) else attack
        tried = tuple(word.replace("PLACE", place) for word in words)
        prepared = f"{_FILE}; {setup.replace('PLACE', place)}"
        yield Row(
            name + note, (*whom, *rule), tried[0] if isinstance(attack, str) else tried, found, setup=prepared, **more
        )  # type: ignore[arg-type]


def _named(
    name: str, attack: str, *words: str, expect: Expected = REFUSED, whom: tuple[str, ...] = ()
) -> Iterator[Row]:
    return _both(
        name, ("lives", attack, "PLACE", *words), expect, whom=("--comm", "lives", *whom),
        setup="ln -s BIN/lives another", how="own", alone=True,
    )  # fmt: skip


ROWS = (
    *_both("a thread executes in the leader's place", ("lives", "exec_by_thread", "PLACE")),
    *_both("a thread executes when the leader has ended", ("lives", "exec_by_thread", "PLACE", "gone")),
    *_both(
        "numbers of processes come again at once",
        f"{_LOW}; BIN/lives again PLACE 2000; status=$?; {_HIGH}; exit $status",
        user="root", alone=True,
    ),
    *_both(
        "a child of --ppid's process ends its parent, with -f", _ORPHAN,
        whom=("--ppid", "PID", "-f"), setup=_PARENT, user="root", how="own", alone=True,
    ),
    *_both(
        "a child of --ppid's process ends its parent", _ORPHAN,
        whom=("--ppid", "PID"), setup=_PARENT, user="root", how="own", alone=True,
    ),
    *_named("--comm: a process under another name", "renamed"),
    *_named("--comm: a thread under another name", "renamed_thread"),
    *_named("--comm: a child of one under another name", "renamed_child"),
    *_named("--comm: executed under another name", "executed", "HERE/another", expect=Announced(_EXECUTED)),
    *_named("--comm: executed under another name, with -f", "executed", "HERE/another", whom=("-f",)),
)  # fmt: skip
