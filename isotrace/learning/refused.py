"""What isotrace block has refused, as it says it in JSON, as calls to learn from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from isotrace.learning.folding import Tally
from isotrace.learning.requests import ANY_PROTOCOL, Asked
from isotrace.policy import CallRequest, NetRequest, PathRequest, Request
from isotrace.policy.accesses import ADDRESSED, LETTERS, NO_FLAGS, of_flags


def calls(lines: Iterable[str]) -> dict[Asked, Tally]:
    """The refusals by rules of the file: isotrace's own are of no group. Raises ``ValueError`` for other lines."""
    found: dict[Asked, Tally] = {}
    for line in lines:
        said = json.loads(line)
        if said["type"] in ("refused", "repeated") and said["group"] is not None:
            found.setdefault(_asked(said), Tally()).add(int(said["count"]), ())
    return found


def _asked(said: dict[str, Any]) -> Asked:
    call, what, rule = str(said["call"]), str(said["what"] or ""), str(said["asked"])
    requests: list[Request] = [CallRequest(call)]
    if rule.partition(" ")[0].endswith("-path") and what.startswith("/"):
        requests.append(PathRequest(what, frozenset(_letters(call, said["args"]))))
    elif rule.partition(" ")[0].endswith("-net") and what:
        requests += _address(call, what)
    return Asked(call, str(said["abi"]), str(said["comm"]).encode(), 0, tuple(requests))


def _letters(call: str, args: list[dict[str, Any]]) -> str:
    """All that the call may do to the file: which of its names was refused, a line does not say."""
    letters = LETTERS.get(call, ("rwx",))
    if letters == ("flags",):
        flags = next((int(one["raw"]) for one in args if one["name"] == "flags"), NO_FLAGS)
        return of_flags(flags) or "r"
    return "".join(sorted(set("".join(letters)))) or "rwx"


def _address(call: str, what: str) -> Iterator[Request]:
    outward = call in ADDRESSED and call != "bind"
    if what.startswith(("/", "@")):
        path, abstract = (what, None) if what.startswith("/") else (None, what[1:])
        yield NetRequest("unix", path=path, abstract=abstract, outward=outward)
        return
    host, _, port = what.rpartition(":") if "]:" in what or what.count(":") == 1 else (what, "", "")
    yield NetRequest(ANY_PROTOCOL, ip_address(host.strip("[]")), int(port) if port else None, outward=outward)
