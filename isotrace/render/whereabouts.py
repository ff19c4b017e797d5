"""Where threads are, beside their numbers: ``4711 (12 in web)``, or the members of an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isotrace.decode.quote import escape_text, safe
from isotrace.trace.whereabouts import Whereabouts


def inside(where: Whereabouts | None) -> str:
    """Behind a thread's number: `` (12 in web)``; "" of one that is in no container and no pid namespace of its own."""
    if where is None:
        return ""
    return _text(None if where.container is None else safe(where.container), where.tid)


def inside_object(one: Mapping[str, Any]) -> str:
    """The same of a process, by the members that ``where_object`` makes beside its ``pid``."""
    own = one["pid_inside"]
    if own is None:
        return ""
    return _text(one["container"], own if own != one["pid"] else 0)


def _text(container: str | None, number: int) -> str:
    own = f"{number} " if number else ""
    if container is None:
        return f" ({own}in ?)"
    return f" ({own}in {container})" if container else f" ({own}inside)" if own else ""


def where_object(where: Whereabouts | None, pid: int, tid: int) -> dict[str, Any]:
    """``container`` ("" in none) and the process's numbers in its own pid namespace; null what is not known."""
    if where is None:
        return {"container": None, "pid_inside": None, "tid_inside": None}
    name = None if where.container is None else escape_text(where.container)
    return {"container": name, "pid_inside": where.pid or pid, "tid_inside": where.tid or tid}
