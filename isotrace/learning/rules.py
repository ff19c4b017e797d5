"""The tightest policy that allows what recordings ask for: rules with their evidence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from typing import Literal

from isotrace.catalog import refuse
from isotrace.learning import shapes
from isotrace.learning.base import base
from isotrace.learning.folding import Tally
from isotrace.learning.raising import Evidence, Tree
from isotrace.learning.requests import Asked, each
from isotrace.policy import CallRequest, Group, NetRequest, PathRequest, Policy, decide, names, nets, paths
from isotrace.policy.decide import Request, SocketRequest
from isotrace.policy.model import ACCESSES, Rule
from isotrace.policy.patterns import Pattern
from isotrace.units import many

#: The keys of a policy file that rules are written under.
Kind = Literal["deny", "deny-path", "allow-path", "deny-net", "allow-net"]
#: A policy has no more rules than this if raising can bring that about.
MOST = 40
#: How many entries of a directory are several, from the tightest policy on.
_SEVERAL = (5, 4, 3, 2)
_SEVERAL_HOSTS = 4
_CHOSEN = range(32768, 61000)  # net.ipv4.ip_local_port_range, where nobody has set it
_SOCKETS = (("any:",), ("tcp:", "udp:"), ("tcp:",), ())
_UNIX = ("unix:/**", "unix:@*")


@dataclass(frozen=True)
class Learned:
    """A rule as it stands in a file, and what it is there for. ``why`` says what else there is to say."""

    kind: Kind
    word: str
    evidence: Evidence = field(default_factory=Evidence, hash=False)
    why: str = ""

    @property
    def title(self) -> str:
        """The rule as its option writes it."""
        return f"{self.kind} {self.word}"


@dataclass
class Lesson:
    """What was learned: a group of rules each for calls, files and addresses, empty where nothing could be. ``words`` are
    the calls that are allowed, by word; ``said`` is what of the recordings stands in the way of holding more.
    """

    calls: list[Learned] = field(default_factory=list)
    words: dict[str, Evidence] = field(default_factory=dict)
    files: list[Learned] = field(default_factory=list)
    addresses: list[Learned] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def rules(self) -> list[Learned]:
        """All of them."""
        return [*self.calls, *self.files, *self.addresses]


@dataclass(frozen=True)
class Wish:
    """How a person wants it: directories that no rule is raised to (``never``), and which groups there are to be.

    ``momentary`` are files that were made and removed. ``known`` are files that are allowed already, with the accesses: new
    ones beside them may be several with them. With ``again`` what is learned goes into a policy that refuses every address
    already.
    """

    never: tuple[str, ...] = ()
    known: tuple[tuple[str, frozenset[str]], ...] = ()
    again: bool = False
    momentary: frozenset[str] = frozenset()
    calls: bool = True
    files: bool = True
    code: bool = True
    addresses: bool = True


def learn(calls: Mapping[Asked, Tally], wish: Wish | None = None) -> Lesson:
    """The policy that allows all of ``calls``."""
    wish, lesson = wish or Wish(), Lesson()
    by_request = collected(calls)
    if wish.calls:
        _learn_calls(lesson, by_request)
    if wish.addresses:
        _learn_addresses(lesson, by_request, wish)
    if wish.files:
        _learn_files(lesson, by_request, wish)
    if count := sum(shapes.UNWRITABLE in one.evidence.notes for one in lesson.rules):
        lesson.said.append(f"in {many(count, 'rule')} {shapes.UNWRITABLE}")
    return lesson


def collected(calls: Mapping[Asked, Tally]) -> dict[Request, Evidence]:
    """Every request with its evidence; what is moved to where something may be is also moved away from there."""
    found: dict[Request, Evidence] = {}
    for asked, tally in calls.items():
        one = Evidence(tally.count, {asked.comm: tally.count}, {asked.call: tally.count}, list(tally.first))
        for request in asked.requests:
            found.setdefault(request, Evidence()).add(one)
        if asked.act.startswith("rename") and len(asked.objects) > 1 and isinstance(asked.objects[1], PathRequest):
            onto = replace(asked.objects[1], access=frozenset(ACCESSES))
            found.setdefault(onto, Evidence()).add(replace(one, count=0, notes=["a file there may be replaced"]))
    return found


# ---- calls --------------------------------------------------------------------------------------------------------------


def _learn_calls(lesson: Lesson, by_request: Mapping[Request, Evidence]) -> None:
    always = base().calls
    for request, evidence in by_request.items():
        if isinstance(request, CallRequest) and request.call not in refuse.NEVER and request.call not in always:
            for word in words_for(request):
                lesson.words.setdefault(word, Evidence()).add(evidence)
    lesson.words = dict(sorted(lesson.words.items()))
    terms = [f"!{word}" for word in (*lesson.words, *base().words)]
    lesson.calls.append(Learned("deny", ",".join(terms)))


def words_for(request: CallRequest) -> list[str]:
    """The words that, taken away from a rule on calls, leave this call alone: nothing for what cannot be refused."""
    if request.call in refuse.NEVER or request.call in refuse.NO_CODE:
        return []
    known = names.words()
    for word in names.words_of(request.call):
        if request.call not in known[word].addressed:
            return [word]
    return [f"={request.call}" if request.call in known else request.call]


# ---- files --------------------------------------------------------------------------------------------------------------


def _learn_files(lesson: Lesson, by_request: Mapping[Request, Evidence], wish: Wish) -> None:
    letters = "rwx" if wish.code else "rw"
    left: dict[str, dict[str, Evidence]] = {letter: {} for letter in letters}
    shipped: dict[str, Learned] = {}
    for request, evidence in by_request.items():
        if not isinstance(request, PathRequest):
            continue
        for letter in request.access & set(letters):
            known = base().file(request.path, letter)
            if known is None:
                found = replace(evidence, names=[request.path], notes=_notes(evidence, request.path))
                left[letter].setdefault(request.path, Evidence()).add(found)
                continue
            rule, why = known
            shipped.setdefault(rule.asked, Learned("allow-path", rule.asked, Evidence(), why)).evidence.add(evidence)
    room = MOST - len(shipped) - len(lesson.rules) - 1
    for path, access in wish.known:
        for letter in access & set(letters):
            left[letter].setdefault(path, Evidence(names=[path]))
    trees = {letter: Tree(touched, wish.never, wish.momentary) for letter, touched in left.items()}
    own: list[Learned] = []
    for several in _SEVERAL:
        own = _merged(trees, several)
        if len(own) <= room:
            break
    lesson.files += [Learned("deny-path", f"{letters}:/**" if letters != ACCESSES else "/**")]
    lesson.files += sorted(shipped.values(), key=lambda one: (one.why, one.word))
    lesson.files += own
    if len(own) > room:
        lesson.said.append(f"{len(lesson.rules)} rules: their paths have too little in common for {MOST}")


def _notes(evidence: Evidence, name: str) -> list[str]:
    """Those of the evidence, and what is to be said of the name."""
    return [*evidence.notes, *(() if name.isprintable() else (shapes.UNWRITABLE,))]


def _merged(trees: Mapping[str, Tree], several: int) -> list[Learned]:
    """The rules of all accesses; those on the same files are one."""
    found: dict[Pattern, tuple[set[str], Evidence]] = {}
    for letter, tree in trees.items():
        for raised in tree.raised(several):
            letters, evidence = found.setdefault(raised.pattern, (set(), Evidence()))
            letters.add(letter)
            evidence.add(raised.evidence)
    return [
        Learned("allow-path", worded(pattern, letters), evidence)
        for pattern, (letters, evidence) in sorted(found.items(), key=lambda pair: str(pair[0]))
        if evidence.comms  # of a file that is allowed already nobody speaks
    ]


def worded(pattern: Pattern, letters: Iterable[str]) -> str:
    """A rule on a path, in words."""
    access = "".join(letter for letter in ACCESSES if letter in set(letters))
    return str(pattern) if access == ACCESSES else f"{access}:{pattern}"


# ---- addresses ----------------------------------------------------------------------------------------------------------


def _learn_addresses(lesson: Lesson, by_request: Mapping[Request, Evidence], wish: Wish) -> None:
    sockets = [one for one in by_request if isinstance(one, SocketRequest)]
    reached = {one: evidence for one, evidence in by_request.items() if isinstance(one, NetRequest)}
    denied = next(words for words in _SOCKETS if not any(_refused(words, one) for one in sockets))
    if denied != _SOCKETS[0]:
        lesson.said.append("sockets were made that no rule on addresses excepts: not every address is denied")
    lesson.addresses += [Learned("deny-net", word) for word in (*denied, *_UNIX)]
    over_ip = {one: evidence for one, evidence in reached.items() if one.protocol != "unix"}
    if denied or wish.again:
        lesson.addresses += _over_ip(over_ip)
    lesson.addresses += _over_unix({one: evidence for one, evidence in reached.items() if one.protocol == "unix"})


def _refused(words: Sequence[str], request: SocketRequest) -> bool:
    rules = tuple(nets.parse(word, allow=False) for word in words)
    return decide(Policy((Group("", rules),)), request).denied


def _over_ip(reached: Mapping[NetRequest, Evidence]) -> Iterator[Learned]:
    """A rule for each address and port; for several hosts by one port of theirs, or several ports of one, one for all."""
    by_port: dict[tuple[str, int | None, bool], set[str]] = {}
    by_host: dict[tuple[str, str], set[int | None]] = {}
    for one in reached:
        by_port.setdefault((one.protocol, one.port, one.outward), set()).add(str(one.address))
        by_host.setdefault((one.protocol, str(one.address)), set()).add(one.port)
    found: dict[str, tuple[Evidence, str]] = {}
    for one, evidence in reached.items():
        hosts, ports = by_port[one.protocol, one.port, one.outward], by_host[one.protocol, str(one.address)]
        word, why = address_word(one), "a port that the kernel has chosen" if _is_chosen(one) else ""
        if not why and len(hosts) >= _SEVERAL_HOSTS and one.port and one.outward:
            word, why = f"{_prefix(one)}*:{one.port}", f"raised from {len(hosts)} addresses"
        elif not why and len(ports) >= _SEVERAL_HOSTS:
            word, why = _address(one, None), f"raised from {len(ports)} ports"
        found.setdefault(word, (Evidence(), why))[0].add(evidence)
    yield from (Learned("allow-net", word, evidence, why) for word, (evidence, why) in sorted(found.items()))


def address_word(request: NetRequest) -> str:
    """The rule on an address alone, in words; a port of this host that the kernel has chosen is any such. "" of none."""
    if request.protocol == "unix":
        return _unix(request)[0]
    if _is_chosen(request):
        return f"{_address(request, 0).removesuffix('0')}{_CHOSEN[0]}-{_CHOSEN[-1]}"
    return _address(request, request.port)


def _is_chosen(request: NetRequest) -> bool:
    return request.address is not None and request.address.is_loopback and request.port in _CHOSEN


def _prefix(request: NetRequest) -> str:
    return f"{request.protocol}:" if request.protocol in ("tcp", "udp") else "any:"


def _address(request: NetRequest, port: int | None) -> str:
    assert request.address is not None
    bits = f"/{request.address.max_prefixlen}" if request.address.is_unspecified else ""
    host = str(request.address)
    if isinstance(request.address, IPv6Address):
        host = f"[{host}]{bits}" if port is not None else f"{host}{bits}"
    else:
        host += bits
    return f"{_prefix(request)}{host}{'' if port is None else f':{port}'}"


def _over_unix(reached: Mapping[NetRequest, Evidence]) -> Iterator[Learned]:
    found: dict[str, tuple[Evidence, str]] = {}
    for one, evidence in reached.items():
        word, why = _unix(one)
        if word:
            name = one.path or one.abstract or ""
            found.setdefault(word, (Evidence(), why))[0].add(replace(evidence, notes=_notes(evidence, name)))
    yield from (Learned("allow-net", word, evidence, why) for word, (evidence, why) in sorted(found.items()))


def _unix(request: NetRequest) -> tuple[str, str]:
    if request.path is not None:
        for rule, why in base().addresses:
            if rule.path is not None and rule.path.matches(request.path):
                return rule.asked, why
        return f"unix:{shapes.pattern(request.path)}", ""
    if not request.abstract:
        return "", ""
    return f"unix:@{abstract(request.abstract)}", ""


def abstract(name: str) -> str:
    """An abstract name as a rule has it: what varies, or cannot be written, is a star."""
    text = "".join(letter if letter.isprintable() else "*" for letter in os.fsdecode(os.fsencode(name)))
    return str(shapes.pattern(f"/{text}")).removeprefix("/") if "/" not in text and "*" not in text else text


# ---- what they come to --------------------------------------------------------------------------------------------------


def policy_of(lesson: Lesson) -> Policy:
    """The policy that the rules are."""
    groups = []
    for name, rules in (("calls", lesson.calls), ("files", lesson.files), ("network", lesson.addresses)):
        if rules:
            groups.append(Group(name, tuple(_parsed(one) for one in rules)))
    return Policy(tuple(groups))


def _parsed(one: Learned) -> Rule:
    if one.kind == "deny":
        return names.parse(one.word)
    parse = paths.parse if one.kind.endswith("path") else nets.parse
    return parse(one.word, allow=one.kind.startswith("allow"))


def allows(policy: Policy, request: Request) -> bool:
    """Whether the policy allows it, whatever of it is not known."""
    return not any(decide(policy, one).denied for one in each(request))
