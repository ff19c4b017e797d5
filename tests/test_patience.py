"""What is said while the kernel keeps isotrace waiting."""

from __future__ import annotations

import threading

import pytest

from isotrace.process import patience


@pytest.fixture
def said(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(patience, "_tell", lines.append)
    return lines


def test_what_is_quick_is_not_said(said):
    with patience.waiting("attaching", first=3600):
        pass
    assert said == []


def test_what_takes_long_is_said_again_and_again(said, monkeypatch):
    twice = threading.Event()
    monkeypatch.setattr(patience, "_tell", lambda line: (said.append(line), len(said) > 1 and twice.set()))
    with patience.waiting("attaching", first=0.01, again=0.01):
        assert twice.wait(60)
    assert all(line.startswith("attaching takes long, ") for line in said)


def test_nothing_is_said_where_nobody_asked_for_it(monkeypatch):
    monkeypatch.setattr(patience, "_tell", None)
    with patience.waiting("attaching", first=0):
        assert not any(thread.name.startswith("Thread-") and "_say" in thread.name for thread in threading.enumerate())


def test_threads_that_spin_are_named(tmp_path):
    for pid, tid, comm, state in ((10, 11, "iou-sqp-10", "R"), (20, 21, "iou-sqp-20", "S"), (30, 30, "sh) R", "R")):
        task = tmp_path / str(pid) / "task" / str(tid)
        task.mkdir(parents=True)
        (task / "stat").write_text(f"{tid} ({comm}) {state} 1 1 1")
    assert patience._who(tmp_path) == "; io_uring's SQPOLL spins in thread 11 of process 10"
