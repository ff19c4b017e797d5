"""Rules on unix sockets as what bpf/block_unix.h works with. Pure.

Rules on socket files become rules on objects (objects.py) for an access of their own. Those on abstract names, with the
rule on every socket, become one DFA over bytes: a state for what each pattern has matched so far, and in each state the
rule that would decide.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isotrace.enforce import Enforced
from isotrace.enforce.hooks import coverage
from isotrace.enforce.hooks.nfa import TooMuch
from isotrace.enforce.hooks.objects import PEER, AnchorRule
from isotrace.enforce.tables import RuleTable
from isotrace.policy.decide import strictness, unix_specificity
from isotrace.policy.model import NetRule

MAX_STATES = 2048
_BYTES = 256
_CHOSEN_LETTERS, _CHOSEN = frozenset("0123456789abcdef"), 5  # what autobind makes names of: unix(7)


@dataclass(frozen=True)
class NameRule:
    """A rule on the abstract names that ``glob`` matches."""

    index: int
    allow: bool
    glob: str


#: Where a pattern can be: (rule, bytes and stars matched), for every pattern that may still match.
_State = frozenset[tuple[int, int]]
_STAR = -1


@dataclass(frozen=True)
class NameDfa:
    """The DFA: by state the next state for each byte, and the index of the rule that denies, or 0; it begins in 0."""

    next: Sequence[Sequence[int]]
    denies: Sequence[int]

    @property
    def room(self) -> int:
        """The states of the kernel's table, a power of two."""
        return 1 << (len(self.next) - 1).bit_length()

    def pack(self) -> bytes:
        """``struct abstract_names``."""
        spare = self.room - len(self.next)
        rows = array("H", (state for row in self.next for state in row))
        return rows.tobytes() + bytes(2 * _BYTES * spare) + array("H", self.denies).tobytes() + bytes(2 * spare)


def names(rules: Sequence[NameRule], rest: int) -> NameDfa:
    """The DFA of ``rules``, the one that decides first at the front; ``rest`` denies what none decides, or is 0.

    Raises ``TooMuch``.
    """
    words = [_word(rule.glob) for rule in rules]
    alphabet = {byte for word in words for byte in word if byte != _STAR}
    numbers: dict[_State, int] = {_closed(words, {(index, 0) for index in range(len(words))}): 0}
    rows: list[list[int]] = []
    for state in _growing(numbers):
        other = numbers.setdefault(_after(words, state, None), len(numbers))
        row = [other] * _BYTES
        for byte in alphabet:
            row[byte] = numbers.setdefault(_after(words, state, byte), len(numbers))
        rows.append(row)
        if len(numbers) > MAX_STATES:
            raise TooMuch(
                "the abstract names in the rules are too long together", "fewer rules, or fewer stars in them"
            )
    return NameDfa(rows, [_denies(rules, words, state, rest) for state in numbers])


def _growing(numbers: dict[_State, int]) -> Iterator[_State]:
    """Every state, those too that are found while this goes on."""
    done = 0
    while done < len(numbers):
        for state in list(numbers)[done:]:
            yield state
            done += 1


def _word(glob: str) -> list[int]:
    stars = [[*piece.encode("utf-8", "surrogateescape"), _STAR] for piece in glob.split("*")]
    return [byte for piece in stars for byte in piece][:-1]


def _closed(words: Sequence[Sequence[int]], state: set[tuple[int, int]]) -> _State:
    """With what stars that match nothing lead to."""
    found, fresh = set(state), list(state)
    while fresh:
        index, at = fresh.pop()
        if at < len(words[index]) and words[index][at] == _STAR and (index, at + 1) not in found:
            found.add((index, at + 1))
            fresh.append((index, at + 1))
    return frozenset(found)


def _after(words: Sequence[Sequence[int]], state: _State, byte: int | None) -> _State:
    """Behind one more byte; None is one that no pattern names."""
    found = set()
    for index, at in state:
        asked = words[index][at] if at < len(words[index]) else None
        if asked == _STAR:
            found.add((index, at))
        elif asked is not None and asked == byte:
            found.add((index, at + 1))
    return _closed(words, found)


def _denies(rules: Sequence[NameRule], words: Sequence[Sequence[int]], state: _State, rest: int) -> int:
    matching = min((index for index, at in state if at == len(words[index])), default=None)
    if matching is None:
        return rest
    return 0 if rules[matching].allow else rules[matching].index


@dataclass(frozen=True)
class Sockets:
    """``rest`` is the index of the rule that denies every socket that no other rule decides, or 0.

    ``chosen``: of the rule that denies a name of the kernel's choosing, or 0; ``closed``: of the one that answers for what
    cannot be judged. ``names`` is None where no rule is on abstract names.
    """

    rest: int
    chosen: int
    closed: int
    names: NameDfa | None

    def constants(self) -> dict[str, int]:
        """What bpf/block_unix.h needs."""
        found = {"UNIX": 1, "UNIX_REST": self.rest, "UNIX_CHOSEN": self.chosen, "UNIX_CLOSED": self.closed}
        return found | ({"NAME_STATES": self.names.room} if self.names else {})

    def judges(self) -> dict[str, str]:
        """Hook → what judges there, where rules on paths do not."""
        found = dict(coverage.PEERS)
        if self.names or self.rest:
            found["socket_bind"] = "judge_unix_bind"
        return found | ({"path_mknod": "judge_socket_made"} if self.rest else {})


def rules(enforced: Sequence[Enforced]) -> list[tuple[Enforced, NetRule]]:
    """The rules on unix sockets, the one that decides first at the front; none where nothing is denied."""
    found = [(one, one.rule) for one in enforced if isinstance(one.rule, NetRule) and one.rule.protocol == "unix"]
    found.sort(key=lambda pair: strictness(pair[1]))
    found.sort(key=lambda pair: unix_specificity(pair[1]), reverse=True)
    return found if any(not rule.allow for _, rule in found) else []


def table(enforced: Sequence[Enforced], rule_table: RuleTable, anchored: Sequence[AnchorRule]) -> Sockets | None:
    """What the rules become beside ``anchored``, which has those on socket files; None where nothing is denied."""
    found = rules(enforced)
    if not found:
        return None
    named = [
        NameRule(rule_table.add(one), rule.allow, rule.abstract) for one, rule in found if rule.abstract is not None
    ]
    every = [(rule_table.add(one), rule.allow) for one, rule in found if rule.path is None and rule.abstract is None]
    rest = next((0 if allow else index for index, allow in every), 0)
    denying = [rule.index for rule in anchored if rule.accesses & PEER and not rule.allow]
    denying += [rule.index for rule in named if not rule.allow]
    closed = rule_table.strictest([*denying, *([rest] if rest else [])])
    return Sockets(rest, rule_table.strictest(_choices(named, rest)), closed, names(named, rest) if named else None)


def _choices(named: Sequence[NameRule], rest: int) -> list[int]:
    """The rules that deny a name which the kernel may choose, as far as no exception is for all of these."""
    found: list[int] = []
    for rule in named:
        letters = rule.glob.replace("*", "")
        if rule.allow and not letters:
            return found
        long = len(letters) == _CHOSEN or (len(letters) < _CHOSEN and "*" in rule.glob)
        if not rule.allow and long and _CHOSEN_LETTERS.issuperset(letters):
            found.append(rule.index)
    return [*found, *([rest] if rest else [])]
