"""What a policy says of recorded calls, by the ``decide`` that enforcers are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from isotrace.learning import requests
from isotrace.learning.folding import Tally
from isotrace.learning.requests import ANY_PROTOCOL, Asked, each
from isotrace.policy import (
    CallRule,
    Decision,
    NetRequest,
    NetRule,
    PathRequest,
    PathRule,
    Policy,
    Rule,
    decide,
    decide_all,
    names,
)
from isotrace.policy.decide import CallRequest, Request, strictness
from isotrace.policy.model import IO_URING

#: Why something cannot be judged, where only the policy makes it matter.
PROTOCOL = "the protocol of a socket is not known"

_ON_PATHS = frozenset((requests.CUT, requests.UNREADABLE, requests.RELATIVE, requests.BY_NUMBER, requests.SCOPED))
_ON_CODE = frozenset((requests.NO_FILE, requests.PROTECTED))
_ON_NETS = frozenset((requests.UNREADABLE, requests.NO_SOCKET, requests.MESSAGES))


@dataclass(frozen=True)
class Refusal:
    """Calls that the policy is against: ``request`` is what of them ``rule`` is against. ``closed``: a rule on calls is
    not on this one, but on what io_uring could do instead.
    """

    asked: Asked
    request: Request
    rule: Rule
    closed: bool = False

    @property
    def only_reported(self) -> bool:
        """Whether the call would have happened all the same."""
        return self.rule.action.kind == "audit"


@dataclass
class Judged:
    """What a policy says. Counts are of calls. ``failed`` are those whose files or addresses the policy is against, and
    that came to nothing all the same; ``words`` and ``here`` are allowed by paths of which nobody, or this machine as it is
    now, knows the links. ``unknown`` are not judged, by the reason.
    """

    refused: dict[Refusal, Tally] = field(default_factory=dict)
    allowed: int = 0
    failed: int = 0
    words: int = 0
    here: int = 0
    unknown: dict[str, int] = field(default_factory=dict)

    @property
    def refusals(self) -> int:
        """How many calls would have been refused."""
        return sum(tally.count for one, tally in self.refused.items() if not one.only_reported)

    @property
    def reported(self) -> int:
        """How many calls would have been reported and let go on."""
        return sum(tally.count for one, tally in self.refused.items() if one.only_reported)


class Judge:
    """Judges calls by a policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        rules = policy.rules
        self._calls = sorted((rule for rule in rules if isinstance(rule, CallRule)), key=strictness)
        self._closing = [(names.closes(rule.calls), rule) for rule in self._calls]
        paths = [rule for rule in rules if isinstance(rule, PathRule)]
        nets = [rule for rule in rules if isinstance(rule, NetRule)]
        self._paths = bool(paths) or any(rule.path for rule in nets)
        self._matters = frozenset(
            (
                requests.NO_CALL,
                *((requests.OPERATION,) if self._paths or nets else ()),
                *(_ON_PATHS if self._paths else ()),
                *(_ON_CODE if any("x" in rule.access and not rule.allow for rule in paths) else ()),
                *(_ON_NETS if nets else ()),
            )
        )
        self._known: dict[tuple[Request, ...], Decision | None] = {}

    def judge(self, calls: Mapping[Asked, Tally], most: int | None) -> Judged:
        """What it says of all of them; ``most`` rows are kept of each refusal."""
        found = Judged()
        for asked, tally in calls.items():
            refusal = self.refusal(asked)
            unknown = [why for why in asked.unknown if why in self._matters]
            if refusal is None and self._decision(asked.requests) is None:
                unknown.append(PROTOCOL)
            if refusal is not None:
                found.refused.setdefault(refusal, Tally()).add(tally.count, tally.first, most)
            elif unknown:
                for why in unknown:
                    found.unknown[why] = found.unknown.get(why, 0) + tally.count
            else:
                found.allowed += tally.count
                found.words += tally.count * (asked.sure == "words" and self._paths)
                found.here += tally.count * (asked.sure == "here" and self._paths)
            if asked.missed and refusal is None and _denied(self._decision(asked.missed)):
                found.failed += tally.count
        return found

    def refusal(self, asked: Asked) -> Refusal | None:
        """What the policy has against a call, None where that is nothing, or cannot be told."""
        decision = self._decision(asked.requests)
        if decision is not None and decision.rule is not None and not decision.rule.allow:
            which = (one for one in asked.requests if self._is_against(one, decision.rule))
            return Refusal(asked, next(which, asked.requests[0]), decision.rule)
        operation = asked.act != asked.call
        needs = IO_URING if operation else {asked.call}
        closing = next((rule for calls, rule in self._closing if calls & needs), None)
        if closing is None or not (asked.requests or operation):
            return None
        return Refusal(asked, CallRequest(asked.call) if operation else asked.requests[0], closing, closed=True)

    def _is_against(self, request: Request, rule: Rule) -> bool:
        return any(_rules(self._policy, one, rule) for one in each(request))

    def _decision(self, asked: tuple[Request, ...]) -> Decision | None:
        """None where it depends on what is not known."""
        if asked not in self._known:
            self._known[asked] = self._decided(asked)
        return self._known[asked]

    def _decided(self, asked: tuple[Request, ...]) -> Decision | None:
        if not any(isinstance(one, NetRequest) and one.protocol == ANY_PROTOCOL for one in asked):
            return decide_all(self._policy, asked)
        found = [
            decide_all(self._policy, [_with(one, protocol) for one in asked]) for protocol in ("tcp", "udp", "other")
        ]
        return found[0] if len({_denied(one) for one in found}) == 1 else None


def _with(request: Request, protocol: str) -> Request:
    if isinstance(request, NetRequest) and request.protocol == ANY_PROTOCOL:
        return replace(request, protocol=protocol)
    return request


def _denied(decision: Decision | None) -> bool:
    return decision is not None and decision.denied


def _rules(policy: Policy, request: Request, rule: Rule) -> bool:
    """Whether it is this rule that decides on the request, or on one of its accesses."""
    if isinstance(request, PathRequest):
        alone = (replace(request, access=frozenset(letter)) for letter in request.access)
        return any(decide(policy, one).rule == rule for one in alone)
    return decide(policy, request).rule == rule
