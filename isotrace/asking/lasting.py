"""Answers for always: the rules that are written for them, and what a policy with them says of a question. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import product
from typing import Literal

from isotrace.asking import things
from isotrace.asking.things import Thing, is_inward
from isotrace.enforce import Question, Verdict
from isotrace.errors import UsageError
from isotrace.policy import (
    Action,
    CallRequest,
    Group,
    NetRequest,
    PathRequest,
    Policy,
    decide,
    decide_all,
    names,
    nets,
    paths,
)
from isotrace.policy.model import ACCESSES, ANSWERS, Rule
from isotrace.policy.patterns import Component, Pattern
from isotrace.policy.settle import settled

_MOST_OBJECTS = 6  # of a call, each of which may be of one of three protocols
#: The keys of a group of a policy file that answers are written under.
Kind = Literal["allow", "deny", "allow-path", "deny-path", "allow-net", "deny-net"]


@dataclass(frozen=True)
class Written:
    """A rule as it stands in a policy file: ``word`` under ``kind`` in the group of answers that ``action`` names."""

    kind: Kind
    word: str
    action: Action

    @property
    def group(self) -> str:
        """The group of the file."""
        plain = self.kind.startswith("allow") or self.action == Action()
        return ANSWERS if plain else f"{ANSWERS}-{self.action.name}"

    @property
    def text(self) -> str:
        """As the option would have it: ``allow-path r:/etc/**``."""
        return f"{self.kind} {self.word}"


def choices(policy: Policy, question: Question, thing: Thing, verdict: Verdict, denial: Action) -> tuple[Written, ...]:
    """The narrowest rule that answers the question for good, and up to two wider ones. ``thing`` is what was shown of it.

    Only rules with which nobody is asked again; none where the words of policies cannot say it.
    """
    action = Action("kill") if verdict == "kill" else denial
    head = "allow" if verdict == "allow" else "deny"
    found: list[Written] = []
    for tail, word in _words(question, thing):
        written = Written(f"{head}{tail}", word, action)  # type: ignore[arg-type]
        if written not in found and _answers(policy, written, question) == verdict:
            found.append(written)
    return tuple(found[:3])


def _answers(policy: Policy, written: Written, question: Question) -> Verdict | None:
    try:
        return says(with_answers(policy, [written]), question)
    except UsageError:  # too long for a pattern
        return None


def with_answers(policy: Policy, written: Sequence[Written]) -> Policy:
    """The policy with these rules, as it is when it is read from the file. Raises ``UsageError``."""
    groups = list(policy.groups)
    for one in written:
        if one.kind == "allow":
            groups.append(Group(one.group, (), unasked=names.parse(one.word).calls))
        else:
            groups.append(Group(one.group, (_rule(one),)))
    return settled(Policy(tuple(groups)))


def says(policy: Policy, question: Question) -> Verdict | None:
    """What the policy says of a question without asking anybody; None where it asks."""
    if not question.what:
        return _says_of_call(policy, question.call)
    if len(question.more) > _MOST_OBJECTS:
        return None
    found = [_requests(one) for one in things.parts(question)]
    if None in found:
        return None
    requests = product(*(one for one in found if one))
    verdicts = {_verdict(decide_all(policy, [CallRequest(question.call), *one]).rule) for one in requests}
    return verdicts.pop() if len(verdicts) == 1 else None


def _says_of_call(policy: Policy, call: str) -> Verdict | None:
    """Of a call of which no more is known: what a rule on it says, else whether the policy has it under allow."""
    rule = decide(policy, CallRequest(call)).rule
    if rule is not None and rule.action.kind != "audit":
        return _verdict(rule)
    return "allow" if any(call in group.unasked for group in policy.groups) else None


def _verdict(rule: Rule | None) -> Verdict | None:
    if rule is None or rule.allow:
        return "allow"
    if rule.action.kind == "audit":
        return "allow"
    return None if rule.action.kind == "ask" else "kill" if rule.action.kind == "kill" else "deny"


def _rule(written: Written) -> Rule:
    allow, group = written.kind.startswith("allow"), written.group
    if written.kind.endswith("-path"):
        return paths.parse(written.word, allow=allow, action=written.action, group=group)
    if written.kind.endswith("-net"):
        return nets.parse(written.word, allow=allow, action=written.action, group=group)
    return names.parse(written.word, action=written.action, group=group)


def _requests(question: Question) -> list[PathRequest | NetRequest] | None:
    """What it may ask for, one for each protocol where that is not known. None for what is no path or address."""
    if not question.what or things.has_no_path(question):
        return None
    if question.access:
        return [PathRequest(question.what, frozenset(question.access))]
    outward = not is_inward(question)
    if question.what.startswith("/"):
        return [NetRequest("unix", path=question.what, outward=outward)]
    if question.what.startswith("@"):
        return [NetRequest("unix", abstract=question.what[1:], outward=outward)]
    address, port = _split(question.what)
    if address is None:
        return None
    return [NetRequest(one, address, port, outward=outward) for one in ("tcp", "udp", "other")]


def _split(what: str) -> tuple[IPv4Address | IPv6Address | None, int | None]:
    """``1.2.3.4:80``, ``[::1]:80``, or an address alone."""
    match = re.fullmatch(r"\[(.*)\]:(\d+)|([\d.]+):(\d+)|\[?([^\]]*)\]?", what)
    host, port = (match[1] or match[3] or match[5], match[2] or match[4]) if match else ("", None)
    try:
        return ip_address(host), int(port) if port else None
    except ValueError:
        return None, None


def _words(question: Question, thing: Thing) -> Iterator[tuple[str, str]]:
    """(end of the key, word), the narrowest first, some of them perhaps too narrow or none."""
    if things.has_no_path(question):
        return
    if question.access:
        yield from (("-path", word) for word in _path_words(question, thing))
    elif question.what:
        yield from (("-net", word) for word in _net_words(question.what))
    else:
        yield "", f"={question.call}"
        yield from (("", word) for word in names.words_of(question.call))


def _path_words(question: Question, thing: Thing) -> Iterator[str]:
    letters = "".join(letter for letter in ACCESSES if letter in question.access)
    prefix = "" if letters == ACCESSES else f"{letters}:"
    names_of = [part for part in question.what.split("/") if part]
    if thing.kind == "file":
        yield from _pattern(prefix, names_of, "")
    if thing.kind == "tree":
        yield from _pattern(prefix, [part for part in thing.name.split("/") if part], "/**")
    if thing.kind in ("file", "files"):
        yield from _pattern(prefix, names_of[:-1], "/*")
    yield from _pattern(prefix, names_of[:-1], "/**")
    if len(names_of) > 2:
        yield from _pattern(prefix, names_of[:-2], "/**")


def _pattern(prefix: str, names_of: Sequence[str], rest: str) -> Iterator[str]:
    """A pattern of that path, and of what ``rest`` matches below it; none where a name has what no pattern can have."""
    if all(name.isprintable() for name in names_of):
        path = str(Pattern(tuple(Component((name,)) for name in names_of)))
        yield f"{prefix}{path.rstrip('/') if rest else path}{rest}"


def _net_words(what: str) -> Iterator[str]:
    if what.startswith(("/", "@")):
        parts = [part for part in what.split("/") if part]
        yield from [f"unix:{what}"] if what.startswith("@") else _pattern("unix:", parts, "")
        if what.startswith("/"):
            yield from _pattern("unix:", parts[:-1], "/**")
        yield "unix:"
        return
    address, port = _split(what)
    if address is None:
        return
    wide = ip_network((address, 24 if address.version == 4 else 64), strict=False)
    host = f"[{address}]" if address.version == 6 else str(address)
    alone = f"{host}/{address.max_prefixlen}" if address.is_unspecified else host
    if port is not None:
        yield f"{alone}:{port}"
        yield alone if address.version == 4 or not address.is_unspecified else f"{address}/128"
        yield f":{port}"
    else:
        yield alone.strip("[]")
    yield str(wide)
