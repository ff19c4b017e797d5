"""Where threads are, beside their numbers: ``4711 (12 in web)``, or the members of an object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from isotrace.decode.quote import as_written, escape_text, quote
from isotrace.trace.whereabouts import Whereabouts

_LONGEST = 128  # bytes of a name
_PLAIN = re.compile(rf"[\w.+/:@-]{{1,{_LONGEST}}}", re.ASCII)


def inside(where: Whereabouts | None) -> str:
    """Behind a thread's number: `` (12 in web)``; "" of one that is in no container and in isotrace's pid namespace."""
    return _text(*(where.container, where.tid) if where else (None, 0))


def inside_object(one: Mapping[str, Any]) -> str:
    """The same of a process, by the members that ``where_object`` makes beside its ``pid``; nothing of one that is gone."""
    own = one["pid_inside"]
    return _text(one["container"], own if own != one["pid"] else 0) if own is not None else ""


def _text(container: str | None, number: int) -> str:
    own = f"{number} " if number else ""
    if container is None:
        return f" ({own}in ?)"
    return f" ({own}in {_name(container)})" if container else f" ({own}inside)" if own else ""


def _name(container: str) -> str:
    """Quoted where it is no plain word: in the text of a line it could be taken for more than a name."""
    return (
        container if _PLAIN.fullmatch(container) else quote(as_written(container)[:_LONGEST], len(container) > _LONGEST)
    )


def where_object(where: Whereabouts | None, pid: int, tid: int) -> dict[str, Any]:
    """``container`` ("" in none) and the numbers in the pid namespace below isotrace's; null what is not known."""
    if where is None:
        return {"container": None, "pid_inside": None, "tid_inside": None}
    name = None if where.container is None else escape_text(where.container)
    return {"container": name, "pid_inside": where.pid or pid, "tid_inside": where.tid or tid}
