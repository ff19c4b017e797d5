"""A call in two: what strace prints when it begins, and what when it returns."""

from __future__ import annotations

from isotrace.catalog.alternatives import chooser
from isotrace.catalog.model import Syscall
from isotrace.render.lines import Decoded

#: Kinds whose memory the kernel fills, beside those named out…: what is in it is known when the call returns.
_FILLED = frozenset({"either", "inout", "moves", "wants"})
#: Calls of whose arguments strace prints so many when they begin; with the others it prints the comma before them.
_AT_FIRST = {"clone": 2}


def halves(decoded: Decoded, position: int) -> tuple[str, str]:
    """The record at ``position`` of a group: ``read(3, `` and ``"x", 1)``, ``close(3`` and ``)``."""
    name, shown = decoded.name[position], decoded.shown(position)
    texts = [text for _, text in shown]
    if name in _AT_FIRST and decoded.call and not decoded.raw:
        count = _AT_FIRST[name]
        return f"{name}({', '.join(texts[:count])}", "".join(f", {text}" for text in texts[count:]) + ")"
    registers = decoded.rows.registers[position]
    call = None if decoded.raw else decoded.call
    count = next((i for i, (arg, _) in enumerate(shown) if _filled(call, arg, registers)), len(texts))
    begun = "".join(f"{text}, " for text in texts[:count]) if count < len(texts) else ", ".join(texts)
    return f"{name}({begun}", ", ".join(texts[count:]) + ")"


def _filled(call: Syscall | None, number: int, registers: list[int]) -> bool:
    if call is None or number >= len(call.args):
        return False
    arg = call.args[number]
    if arg.kind == "alt":
        arg = chooser(call, arg).choose(registers)
    return arg.kind.startswith("out") or arg.kind in _FILLED
