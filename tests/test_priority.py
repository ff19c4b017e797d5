"""The thread that reads the ring goes before others, and it alone."""

from __future__ import annotations

import os
import threading

import pytest

from isotrace.process.priority import go_first


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to go before others")
def test_one_thread_goes_first_and_the_others_stay_where_they_are():
    found = []
    thread = threading.Thread(target=lambda: (go_first(), found.append(nice())))
    before = nice()
    thread.start()
    thread.join()
    assert found[0] < before == nice()


def test_without_the_right_to_everything_stays_as_it_is(monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refused)
    before = nice()
    go_first()
    assert nice() == before
