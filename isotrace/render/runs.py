"""Lines of many records from columns of their parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any

import numpy as np

from isotrace.trace.events import Batch


def runs(batch: Batch, names: Sequence[str]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """How many records each run has where the fields ``names`` stay the same, and the values of these fields."""
    columns = [batch.events[name] for name in names]
    changes = np.ones(len(batch), dtype=np.bool_)
    changes[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    begins = np.flatnonzero(changes)
    counts = np.diff(begins, append=len(batch))
    values = zip(*(column[begins].tolist() for column in columns), strict=True)
    return zip(counts.tolist(), values, strict=True)


def woven(columns: list[list[str]], among: list[str]) -> str:
    """The texts of ``columns`` row by row, one behind the other; of the rows where ``among`` is not empty."""
    if not all(among):
        columns = [list(compress(column, among)) for column in columns]
    parts = [""] * (len(columns) * len(columns[0]))
    for place, column in enumerate(columns):
        parts[place :: len(columns)] = column
    return "".join(parts)
