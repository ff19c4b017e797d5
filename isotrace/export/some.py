"""Some rows of a recording: of calls those that name a path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from isotrace.recording import encode
from isotrace.sinks.passing import chosen
from isotrace.sinks.paths import Paths
from isotrace.trace import events


class Named:
    """Takes the records that ``Paths`` chooses, and all rows that are no records of the kernel's."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._choosers = [Paths(patterns)]

    def __call__(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Those of ``rows``, which must come in order."""
        kept = encode.kinds(rows) > events.LOST
        records = np.flatnonzero(~kept)
        at = 0
        for batch in encode.batches_of(rows):
            kept[records[at : at + len(batch)]] = chosen(batch, self._choosers)
            at += len(batch)
        return rows.filter(pa.array(kept))
