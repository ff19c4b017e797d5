"""bpf(2) without a kernel: who may run on the CPU meanwhile."""

from __future__ import annotations

import os

import pytest

from isotrace.kernel import bpf


@pytest.fixture
def policies(monkeypatch):
    """The scheduling policy during each call."""
    found = []
    monkeypatch.setattr(bpf, "syscall", lambda *_: found.append(os.sched_getscheduler(0)) or 0)
    yield found
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_no_task_comes_between_while_a_map_is_accessed(policies, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda *what: asked.append(what[1]))
    bpf.map_update(3, b"key", b"value")
    assert asked == [os.SCHED_FIFO, os.SCHED_OTHER]
    bpf.raw_tracepoint_open("sys_enter", 3)
    assert len(asked) == 2 and policies == [os.SCHED_OTHER] * 2


def test_the_policy_is_the_kernels_word(policies):
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        pytest.skip(f"needs real-time scheduling: {error}")
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    bpf.map_delete(3, b"key")
    assert policies == [os.SCHED_FIFO]


def test_without_the_right_to_it_maps_are_accessed_all_the_same(policies, monkeypatch):
    def refuse(_pid, policy, _param):
        if policy == os.SCHED_FIFO:
            raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    bpf.map_update(3, b"key", b"value")
    assert policies == [os.SCHED_OTHER]
