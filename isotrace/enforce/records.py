"""Records of refusals, whichever kernel side wrote them (bpf/event.h), as ``Refused``."""

from __future__ import annotations

from typing import Any

from isotrace.catalog import multiplexed
from isotrace.enforce import Refused
from isotrace.trace import clock, plan
from isotrace.trace.events import ABI_NAMES


class Records:
    """What it takes to read a record: the calls by slot."""

    def __init__(self) -> None:
        self._calls = plan.all_calls()

    def refused(self, event: Any, rule: int, what: str) -> Refused:
        """One row of ``Batch.events``; ``rule`` is the rule's number, ``what`` the path or address, or ""."""
        call, args = self._calls.get(int(event["slot"])), tuple(map(int, event["args"]))
        if call and call.name in multiplexed.CALLS and call.abi == "i386":
            call, args = multiplexed.demultiplex(call.name, args, lambda _at, _count: None) or (call, args)
        return Refused(
            time_ns=int(event["time"]) + clock.offset(),
            pid=int(event["pid"]),
            tid=int(event["tid"]),
            comm=bytes(event["comm"]),
            call=call.name if call else f"syscall_{int(event['number'])}",
            abi=ABI_NAMES[int(event["abi"])],
            args=args,
            rule=rule,
            what=what,
        )
