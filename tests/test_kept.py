"""When what a killed isotrace left in force may be let go: as soon as nobody is left for certain, and never before."""

from __future__ import annotations

import errno
import os

import pytest

from isotrace.backends.pids import ACTIVE, ENDED, LIMIT, Pids
from isotrace.enforce import kept
from isotrace.enforce.kept import Left
from isotrace.kernel import bpf

GONE = LIMIT - 1


@pytest.fixture
def left(tmp_path, monkeypatch):
    """``left(*names, members={}, joined=[1])``: what is pinned, the states of processes, what ``joined`` says in turn."""

    def make(*names, members=None, joined=(1,)):
        for name in names:
            (tmp_path / name).touch()
        counts = list(joined)

        def get(path):
            os.stat(path)
            fd = os.memfd_create("map")
            os.truncate(fd, LIMIT)
            if members is None:
                os.close(fd)
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            pids = Pids(fd)
            for pid, state in members.items():
                pids.add(pid, state)
            pids.close()
            return fd

        monkeypatch.setattr(bpf, "obj_get", get)
        monkeypatch.setattr(
            bpf, "map_lookup", lambda *_: (counts.pop(0) if len(counts) > 1 else counts[0]).to_bytes(8, "little")
        )
        monkeypatch.setattr(bpf, "linked_program", lambda fd: 0)
        monkeypatch.setattr(bpf, "has_program", lambda number: False)
        monkeypatch.setattr(kept, "left", lambda: [Left(tmp_path)])
        return Left(tmp_path)

    return make


def test_it_is_over_with_its_last_process(left):
    assert left("link-0", "tree", "joined", members={os.getpid(): ENDED, GONE: ACTIVE}).over()
    assert not left("link-0", "tree", "joined", members={os.getpid(): ACTIVE}).over()


def test_who_came_while_it_was_looked_through_may_be_left(left):
    assert not left("link-0", "tree", "joined", members={}, joined=(1, 2)).over()


def test_what_cannot_be_asked_is_not_over(left):
    one = left("link-0", "tree", "joined")
    assert one.members() is None and not one.over()


@pytest.mark.parametrize("names", [("link-0",), ("link-0", "tree"), ("link-0", "joined")])
def test_links_without_the_maps_that_tell_are_not_over(left, names):
    assert not left(*names, members={}).over()


def test_without_links_nothing_is_in_force(left):
    assert left("tree", "joined").over()


@pytest.mark.parametrize(
    ("members", "joined", "taken"),
    [
        ({}, (1,), True),
        ({}, (1, 2, 3, 4), False),
        ({os.getpid(): ACTIVE}, (1,), True),
        ({os.getpid(): ACTIVE, os.getppid(): ACTIVE}, (1,), False),
        (None, (1,), False),
    ],
)
def test_what_is_taken_over_is_for_nobody_else(left, tmp_path, members, joined, taken):
    one = left("link-0", "tree", "joined", members=members, joined=joined)
    assert kept.take_over({os.getpid()}) == ([] if taken else [one])
    assert tmp_path.exists() is not taken
