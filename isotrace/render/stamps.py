"""Moments as lines begin with them."""

from __future__ import annotations

import time
from functools import lru_cache

#: How often -t was given: to the second, to the microsecond, since the epoch.
SECONDS, MICROSECONDS, EPOCH = 1, 2, 3


@lru_cache(maxsize=64)
def _of_day(seconds: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def stamp(moment: int, form: int = MICROSECONDS) -> str:
    """``moment`` is in ns since the epoch: ``12:00:01``, ``12:00:01.123456`` or ``1700000001.123456``."""
    seconds, rest = divmod(moment, 1_000_000_000)
    whole = str(seconds) if form >= EPOCH else _of_day(seconds)
    return whole if form == SECONDS else f"{whole}.{rest // 1000:06}"
