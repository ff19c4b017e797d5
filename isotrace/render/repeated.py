"""What sinks make of calls, kept by the bytes that it was made from: programs make the same calls again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from isotrace.catalog.model import Syscall
from isotrace.catalog.rings import PREFIX
from isotrace.render.lines import Decoded, Decoder
from isotrace.trace import events
from isotrace.trace.events import Batch
from isotrace.trace.plan import EXECS

#: Bytes that are kept, of records and of what was made of them; what an entry takes beside its own.
_LIMIT, _EACH = 16 << 20, 256
#: Bytes of captures up to which a record's text is kept: larger ones seldom come again.
_LARGEST = 512
#: What says what a call was, as words of an event: from its number to blobs, its result, from size to pad, arguments.
_WORDS = np.array([4, 5, 14, *range(6, 12)])
_ARGS = 3  # the place of the first argument among these


class Repeated:
    """Texts of calls, of whatever form: ``make`` gives one for each record of a group. It may look at the call, its
    arguments, captures and result, and at nothing else: equal records have one text, which is made once.

    Execves, operations of io_uring, messages of netlink and calls that have not returned say more than their records do:
    their texts are made each time. So is every text where none is to be ``kept``, and where the decoder knows more.
    """

    def __init__(
        self, decoder: Decoder, calls: Mapping[int, Syscall], make: Callable[[Decoded], list[str]], kept: bool = True
    ) -> None:
        self._decoder, self._make = decoder, make
        self._keeps = np.full(events.SLOTS, kept and decoder.alike)
        self._masks = np.full((events.SLOTS, 6), ~np.uint64(0))
        for slot, call in calls.items():
            self._keeps[slot] &= call.name not in EXECS and not call.name.startswith(PREFIX)
            self._masks[slot, len(call.args) :] = 0
        self._known: dict[bytes, str] = {}
        self._used = 0

    def of(self, batch: Batch) -> list[str]:
        """The text of each record; "" of those that are no calls."""
        mask = self._kept(batch)
        places = np.flatnonzero(mask).tolist()
        keys = self._keys(batch, mask)
        found: list[str | None] = list(map(self._known.get, keys))
        missing = [i for i, text in enumerate(found) if text is None]
        firsts = {keys[i]: places[i] for i in missing}
        mask = ~mask
        mask[list(firsts.values())] = True
        texts, passing = [""] * len(batch), set()
        for decoded in self._decoder.decode(batch, mask):
            for place, text in zip(decoded.rows.index, self._make(decoded), strict=True):
                texts[place] = text
            passing |= {i for i, on in zip(decoded.rows.index, decoded.rows.netlink, strict=True) if on}
        for key, place in firsts.items():
            if place not in passing:
                self._keep(key, texts[place])
        for i in missing:
            found[i] = texts[firsts[keys[i]]]
        for place, known in zip(places, found, strict=True):
            texts[place] = known or ""
        return texts

    def _kept(self, batch: Batch) -> npt.NDArray[np.bool_]:
        """Which records are kept, or looked for among those that are."""
        rows = batch.events
        found: npt.NDArray[np.bool_] = self._keeps[rows["slot"]] & (rows["kind"] == events.CALL)
        found &= rows["size"] <= events.EVENT.itemsize + batch.whereabouts + _LARGEST
        return found

    def _keys(self, batch: Batch, mask: npt.NDArray[np.bool_]) -> list[bytes]:
        """All that the texts of the records in ``mask`` are made from; of registers those that the calls look at."""
        words = events.words(batch.events)[mask].take(_WORDS, axis=1)
        words[:, _ARGS:] &= self._masks[batch.events["slot"][mask]]
        keys: list[bytes] = words.view(f"V{words.itemsize * len(_WORDS)}")[:, 0].tolist()
        has = np.flatnonzero(batch.events["blobs"][mask])
        for i, memory in zip(has.tolist(), batch.memory(np.flatnonzero(mask)[has]), strict=True):
            keys[i] += memory
        return keys

    def _keep(self, key: bytes, text: str) -> None:
        if self._used > _LIMIT:
            self._known.clear()
            self._used = 0
        self._known[key] = text
        self._used += len(key) + len(text) + _EACH
