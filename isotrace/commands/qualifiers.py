"""strace's ``-e QUALIFIER=SET``: the same choices under the names that its users know."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from isotrace.catalog import expr
from isotrace.errors import UsageError
from isotrace.render.view import NO_CALLS, Calls

_USAGE = "write -e trace=SET, or abbrev, verbose, raw, signal, status, fd or decode-fds in the place of trace"
#: strace's other names for qualifiers.
_SAME = {"t": "trace", "a": "abbrev", "v": "verbose", "x": "raw", "s": "signal", "signals": "signal", "fds": "fd"}
_SAME |= {"trace-fds": "fd", "decode-fd": "decode-fds"}
#: What isotrace has in another way, or not at all.
_ELSEWHERE = {
    "inject": "isotrace block denies calls",
    "fault": "isotrace block denies calls",
    "read": "--string-limit 4096 shows what is read and written",
    "write": "--string-limit 4096 shows what is read and written",
    "quiet": "-q leaves signals and the summary out, --signals none the signals",
    "kvm": "leave it out",
    "decode-pids": "--decode-pids=comm shows names",
}
#: Details of descriptors that strace shows with -y; the others come with -yy.
_PATHS = ("path",)
_DETAILS = ("all", "socket", "dev", "pidfd", "eventfd", "signalfd")


def take(values: dict[str, Any], given: Iterable[str]) -> None:
    """Put what ``-e`` asks for in the place of the options that ask the same. Raises ``UsageError``."""
    for text in given:
        name, is_set, of = text.partition("=")
        if not is_set:
            name, of = "trace", text
        name = _SAME.get(name, name)
        if name in _ELSEWHERE:
            raise UsageError(f"isotrace has no -e {name}", _ELSEWHERE[name])
        if name not in _QUALIFIERS:
            near = difflib.get_close_matches(name, _QUALIFIERS, n=1)
            raise UsageError(f"unknown qualifier {expr.show(name)}", f"did you mean {near[0]}?" if near else _USAGE)
        _QUALIFIERS[name](values, of)


def calls_of(text: str) -> Calls:
    """A set of calls as strace writes it: a ``!`` before it is for all of it; ``all``, ``none``. Raises ``UsageError``."""
    negated, body = text.startswith("!"), text.removeprefix("!")
    if body in ("all", "none"):
        return None if (body == "all") != negated else NO_CALLS
    return expr.parse(_terms(text))


def _terms(text: str) -> str:
    """The same as isotrace writes it, where ``!`` is for one term, and a regular expression ends with a slash."""
    negated, body = text.startswith("!"), text.removeprefix("!")
    terms = [f"{term}/" if term[:1] == "/" and not term[1:].endswith("/") else term for term in body.split(",")]
    return ",".join(("!" if negated else "") + term for term in terms)


def _once(values: dict[str, Any], option: str, text: str | None, qualifier: str) -> None:
    if values.get(option) not in (None, (), 0):
        raise UsageError(
            f"-e {qualifier} and --{option} are the same, or -e {qualifier} is given twice",
            "join the terms with commas",
        )
    values[option] = text


def _trace(values: dict[str, Any], text: str) -> None:
    everything = text.removeprefix("!") in ("all", "none") and calls_of(text) is None
    _once(values, "calls", None if everything else _terms(text), "trace")


def _signal(values: dict[str, Any], text: str) -> None:
    negated, body = text.startswith("!"), text.removeprefix("!")
    _once(values, "signals", ",".join(("!" if negated else "") + term for term in body.split(",")), "signal")


def _status(values: dict[str, Any], text: str) -> None:
    negated, body = text.startswith("!"), text.removeprefix("!")
    if (body, negated) in (("all", False), ("none", True)):
        return
    _once(values, "status", ",".join(("!" if negated else "") + term for term in body.split(",")), "status")


def _decode_fds(values: dict[str, Any], text: str) -> None:
    found = 0
    for term in text.split(","):
        if term not in ("none", *_PATHS, *_DETAILS):
            raise UsageError(f"unknown detail of descriptors {expr.show(term)}", f"give path, {', '.join(_DETAILS)}")
        found = max(found, 2 if term in _DETAILS else 1 if term in _PATHS else 0)
    values["descriptors"] = max(values["descriptors"], found)


def _calls(option: str) -> Callable[[dict[str, Any], str], None]:
    def take_calls(values: dict[str, Any], text: str) -> None:
        values[option] = calls_of(text)

    return take_calls


_QUALIFIERS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "trace": _trace,
    "abbrev": _calls("abbreviated"),
    "verbose": _calls("followed"),
    "raw": _calls("raw"),
    "signal": _signal,
    "status": _status,
    "fd": lambda values, text: _once(values, "fd", text, "fd"),
    "decode-fds": _decode_fds,
}
