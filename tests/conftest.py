"""What all tests share: tests/records.py is importable from every directory below, and Ctrl-C means Ctrl-C.

Where the tests run in the background SIGINT may be ignored, and every program that they start would inherit that.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that is busy takes a while for an example now and then: no test is about time.
settings.register_profile("isotrace", deadline=None)
settings.load_profile("isotrace")


@pytest.fixture(autouse=True)
def _as_nice_as_before():
    """A run of isotrace in this process has its thread go first; the tests after it do not."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    yield
    if os.getpriority(os.PRIO_PROCESS, 0) != before:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
