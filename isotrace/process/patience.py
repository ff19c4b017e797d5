"""Saying so while the kernel keeps isotrace waiting.

To attach and detach programs the kernel waits until every task has given up its processor by itself (RCU Tasks). On
preemptible kernels a thread that spins does not, such as io_uring's SQPOLL thread, for as long as its owner chose.
Nothing can cut that short.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_FIRST, _AGAIN = 3.0, 30.0  # seconds until it is said, and said again
_SPINNING = "iou-sqp-"
_tell: Callable[[str], object] | None = None


def use(tell: Callable[[str], object]) -> None:
    """Say it by ``tell``, a line at a time, from now on; nothing is said before."""
    global _tell
    _tell = tell


@contextmanager
def waiting(what: str, first: float = _FIRST, again: float = _AGAIN) -> Iterator[None]:
    """Where the block takes longer than ``first`` seconds say that it does, and every ``again`` seconds."""
    tell = _tell
    if tell is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_say, args=(tell, what, over, first, again), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _say(tell: Callable[[str], object], what: str, over: threading.Event, first: float, again: float) -> None:
    passed = first
    while not over.wait(passed if passed == first else again):
        tell(f"{what} takes long, {passed:.0f} s so far: the kernel waits until every task has yielded{_who()}")
        passed += again


def _who(proc: Path = Path("/proc")) -> str:
    """The threads that may be what it waits for."""
    found = [
        f"thread {task.name} of process {task.parent.parent.name}"
        for task in proc.glob("[0-9]*/task/[0-9]*")
        if _spins(task)
    ]
    return f"; io_uring's SQPOLL spins in {', '.join(sorted(found)[:4])}" if found else ""


def _spins(task: Path) -> bool:
    try:
        head, _, tail = (task / "stat").read_bytes().rpartition(b")")
    except OSError:
        return False
    return head.partition(b"(")[2].startswith(_SPINNING.encode()) and tail.split()[:1] == [b"R"]
