"""A plan in words: what enforces each rule and how well, or why nothing does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import groupby
from typing import TypeVar

from isotrace.enforce import Counts, Enforced, Unsupported
from isotrace.enforce.plan import BEST_EFFORT, NEEDS_COMMAND, EnforcementPlan, Unenforceable
from isotrace.policy import names
from isotrace.policy.model import Action, CallRule, NetRule, PathRule, Rule

_VERBS = {"errno": "denied", "kill": "killed", "audit": "would be denied", "ask": "asked about"}
_MANY = 8  # calls that are listed one by one
_FEW = 4  # rules


def plan_lines(plan: EnforcementPlan, every: bool = False) -> list[str]:
    """Every rule with its mechanism or the reason against it, ``every`` one of these; then the notes, each once.

    Rules of a group that have the same said of them have one line, unless ``every``.
    """
    lines: list[str] = []
    told: set[object] = set()
    entries: list[Enforced | Unenforceable] = [*plan.all_enforced, *plan.unenforceable]
    entries.sort(key=lambda entry: entry.number)
    for entry, *alike in [[one] for one in entries] if every else _alike(entries, _said):
        if isinstance(entry, Enforced):
            lines += enforced_lines(entry, alike)
        else:
            why = entry.reasons if every else main_reason(entry)
            lines += unenforceable_lines(entry, every, why in told, alike)
            told.add(why)
    notes = {note: one.mechanism for one in plan.all_enforced for note in one.guarantees.notes}
    return [*lines, *plan.left_out, *(f"{mechanism}: {note}" for note, mechanism in notes.items())]


_Entry = TypeVar("_Entry", bound=Enforced | Unenforceable)


def _alike(entries: Iterable[_Entry], said: Callable[[_Entry], object]) -> Iterator[list[_Entry]]:
    """Each alone, but several in a row of one group, on files or addresses, of which the same is ``said``."""

    def key(entry: _Entry) -> object:
        rule = entry.rule
        if not rule.group or not isinstance(rule, PathRule | NetRule):
            return entry.number
        return rule.group, kind(rule), rule.action, said(entry)

    for _, each in groupby(entries, key):
        run = list(each)
        yield from [run] if len(run) > _FEW else [[one] for one in run]


def _said(entry: Enforced | Unenforceable) -> object:
    """All that a line has beside the rule."""
    if isinstance(entry, Enforced):
        return entry.mechanism, entry.guarantees.text, entry.guarantees.short, entry.action
    return main_reason(entry)


def enforced_lines(enforced: Enforced, alike: Iterable[Enforced | Unenforceable] = ()) -> Iterator[str]:
    """``deny open → EPERM: seccomp · TOCTOU-safe yes · …``, and where less is enforced than asked."""
    yield f"{_title(enforced.rule, enforced.action, alike)}: {enforced.mechanism} · {enforced.guarantees.text}"
    if calls := _calls(enforced):
        yield f"  {calls}"
    for short in enforced.guarantees.short:
        yield f"  LESS THAN ASKED: {short}"


def lacking(plan: EnforcementPlan) -> list[str]:
    """The rules that nothing enforces, by the reason that their user can do most about, each with what would help."""
    rules: dict[tuple[str, Unsupported], list[str]] = {}
    for one in plan.unenforceable:
        rules.setdefault(main_reason(one), []).append(plain(one.rule.title))
    lines = []
    for (name, why), titles in rules.items():
        more = f" and {len(titles) - _FEW} more" if len(titles) > _FEW else ""
        lines += [f"{'; '.join(titles[:_FEW])}{more}", f"  {name}: {why.reason}"]
        lines += [f"  → {why.hint}"] if why.hint else []
    return lines


def main_reason(unenforceable: Unenforceable) -> tuple[str, Unsupported]:
    """What the mechanism lacks for which it takes least: an option, another rule, another kernel."""
    return min(unenforceable.reasons, key=lambda one: _effort(one[1]), default=("", Unsupported("nothing enforces it")))


def _effort(why: Unsupported) -> int:
    if why.hint == BEST_EFFORT:
        return 0
    if why == NEEDS_COMMAND:
        return 1
    if why.reason.startswith(("no ", "cannot tell about ", "this kernel ")):
        return 3
    return 2 if why.hint else 4


def unenforceable_lines(
    unenforceable: Unenforceable,
    every: bool = True,
    again: bool = False,
    alike: Iterable[Enforced | Unenforceable] = (),
) -> Iterator[str]:
    """``deny open → EPERM: NOT ENFORCEABLE``, and what ``every`` mechanism says, or that for which it takes least;
    ``again``: the same as was said before.
    """
    yield f"{_title(unenforceable.rule, unenforceable.rule.action, alike)}: NOT ENFORCEABLE" + (
        ", as above" if again else ""
    )
    if again:
        return
    for name, why in unenforceable.reasons if every else [main_reason(unenforceable)]:
        yield f"  {name}: {why.reason}" + (f" (would help: {why.hint})" if why.hint else "")


def plain(text: str) -> str:
    """One line that a terminal can be given."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def kind(rule: Rule) -> str:
    """``deny-path``."""
    return rule.title.partition(" ")[0]


def _title(rule: Rule, action: Action, alike: Iterable[Enforced | Unenforceable] = (), most: int | None = None) -> str:
    """``files: deny-path w:/etc/** → EPERM``; with the words of those that are ``alike``, ``most`` of all."""
    group = f"{rule.group}: " if rule.group else ""
    titles = [rule.title, *(one.rule.title.removeprefix(f"{kind(rule)} ") for one in alike)]
    more = f" and {len(titles) - most} more" if most and len(titles) > most else ""
    return f"{group}{plain(', '.join(titles[:most]))}{more}" + ("" if rule.allow else f" → {outcome(action)}")


def outcome(action: Action) -> str:
    """``EPERM``; of what asks also what becomes of a call that nobody answers: ``ask, else EPERM``."""
    if action.kind != "ask":
        return action.name
    return f"ask, else {'kill' if action.otherwise == 'kill' else Action(errno=action.errno).name}"


def _calls(enforced: Enforced) -> str:
    rule = enforced.rule
    if not isinstance(rule, CallRule):
        return ""
    listed = sorted(rule.calls)
    shown = ", ".join(name + " (with an address)" * (name in rule.addressed) for name in listed[:_MANY])
    more = f" and {len(listed) - _MANY} more" if len(listed) > _MANY else ""
    beside = beside_words(enforced)
    return shown + more + (f"; {' and '.join(beside)} denied as well" if beside else "")


def beside_words(enforced: Enforced) -> list[str]:
    """What else is refused because it would do the same; security hooks see what io_submit does."""
    rule = enforced.rule
    if not isinstance(rule, CallRule):
        return []
    if enforced.mechanism in ("lsm", "fmod_ret"):
        return ["io_uring_setup"] if enforced.guarantees.io_uring == "closed" else []
    closed = names.closes(rule.calls)
    return [name for name in ("io_uring_*", "io_submit") if any(fnmatchcase(call, name) for call in closed)]


def count_lines(plan: EnforcementPlan, counts: Mapping[str, Counts]) -> list[str]:
    """What happened, by rule; of several of one group on files or addresses in one line where it is the same, and of
    groups that nobody counts as well.
    """

    def came(enforced: Enforced) -> str:
        found = counts[enforced.mechanism]
        if not found.counted:
            return f"not counted: {found.uncounted}"
        return f"{found.hits.get(enforced.number, 0)} {_VERBS[enforced.action.kind]}"

    def told(enforced: Enforced) -> bool:
        found = counts[enforced.mechanism]
        hit = not found.counted or found.hits.get(enforced.number, 0) > 0
        return not enforced.rule.allow and (hit or enforced not in plan.standing)

    lines: list[str] = []
    silent: dict[str, list[tuple[str, str]]] = {}  # what is said of rules that nobody counts → their groups and titles
    for one, *alike in _alike(filter(told, plan.all_enforced), lambda one: (came(one), one.action)):
        title = _title(one.rule, one.action, alike, _FEW)
        if one.rule.group and not counts[one.mechanism].counted:
            silent.setdefault(came(one), []).append((one.rule.group, title))
        else:
            lines.append(f"{title}: {came(one)}")
    for why, rules in silent.items():
        groups = ", ".join(dict.fromkeys(group for group, _ in rules))
        lines.append(f"{rules[0][1] if len(rules) == 1 else groups}: {why}")
    if lost := sum(each.lost for each in counts.values()):
        lines.append(f"{lost} lines lost, the denials themselves were not: output was too slow")
    if missed := sum(each.missed for each in counts.values()):
        lines.append(f"{missed} times the kernel skipped a program: what was asked then was not judged")
    if strays := sum(each.not_followed for each in counts.values()):
        lines.append(
            f"{strays} births of processes missed: what such children and their descendants did was not denied"
        )
    return lines
