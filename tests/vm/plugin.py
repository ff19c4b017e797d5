"""The pytest plugin of the guests: reports each test to the host, and lets no test skip what the kernel has.

A test that needs a feature of the kernel skips with ``needs NAME: why``, NAME from the [features] table of
kernels.toml.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Generator
from typing import Any

import pytest

from tests.vm.bench.matrix import load

NEED = re.compile(r"(?:Skipped: )?needs (?:feature:? )?([\w-]+):")
REPORT = os.environ.get("ISOTRACE_VM_REPORT")
FEATURES = frozenset(filter(None, os.environ.get("ISOTRACE_VM_FEATURES", "").split(",")))
VOCABULARY = frozenset(load().features)


def objection(reason: str, has: Collection[str], known: Collection[str]) -> str:
    """Why a test may not skip for ``reason`` on a kernel that has the features ``has``; "" when it may."""
    match = NEED.match(reason)
    if not match:
        return 'a skip in a guest has to begin with "needs NAME:"'
    if match[1] not in known:
        return f"{match[1]} is no feature of kernels.toml"
    return f"this kernel has {match[1]}" if match[1] in has else ""


def _judge(report: Any) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if complaint := objection(reason, FEATURES, VOCABULARY):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nThis is a failure here: {complaint}."


def _send(**message: Any) -> None:
    if REPORT:
        os.write(int(REPORT), json.dumps(message).encode() + b"\n")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    """Judge a skip of a test."""
    outcome = yield
    _judge(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, None]:
    """Judge a skip of a whole file."""
    outcome = yield
    _judge(outcome.get_result())


def progress(what: str) -> None:
    """Say what a long test is at: who waits outside takes silence for a hang."""
    _send(start=what)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Tell which test runs now: the one to name if the kernel does not survive it."""
    _send(start=nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell how a test went; of its set-up and its end only what is not a pass."""
    if report.when == "call" or not report.passed:
        _send(
            test=report.nodeid,
            outcome=report.outcome,
            seconds=report.duration,
            text=report.longreprtext[-8000:],
        )


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Tell of a file that could not be collected."""
    if not report.passed:
        _send(test=report.nodeid, outcome=report.outcome, seconds=0, text=report.longreprtext[-8000:])
