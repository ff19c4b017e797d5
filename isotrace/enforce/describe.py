"""A plan in words: what enforces each rule and how well, or why nothing does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from isotrace.enforce import Counts, Enforced, Unsupported
from isotrace.enforce.plan import EnforcementPlan, Unenforceable
from isotrace.policy import names
from isotrace.policy.model import Action, CallRule, Rule

_VERBS = {"errno": "refused", "kill": "killed", "audit": "would be refused", "ask": "asked about"}
_MANY = 8  # calls that are listed one by one


def plan_lines(plan: EnforcementPlan) -> list[str]:
    """Every rule with its mechanism or the reasons against it; then the notes, each once."""
    lines: list[str] = []
    told: tuple[tuple[str, Unsupported], ...] = ()
    entries: list[Enforced | Unenforceable] = [*plan.all_enforced, *plan.unenforceable]
    for entry in sorted(entries, key=lambda entry: entry.number):
        if isinstance(entry, Enforced):
            lines += enforced_lines(entry)
        else:
            lines += unenforceable_lines(entry, again=entry.reasons == told)
            told = entry.reasons
    notes = {note: one.mechanism for one in plan.all_enforced for note in one.guarantees.notes}
    return [*lines, *plan.left_out, *(f"{mechanism}: {note}" for note, mechanism in notes.items())]


def enforced_lines(enforced: Enforced) -> Iterator[str]:
    """``deny open → EPERM: seccomp · TOCTOU-safe yes · …``, and where less is enforced than asked."""
    yield f"{_title(enforced.rule)}: {enforced.mechanism} · {enforced.guarantees.text}"
    if calls := _calls(enforced):
        yield f"  {calls}"
    for short in enforced.guarantees.short:
        yield f"  LESS THAN ASKED: {short}"


def unenforceable_lines(unenforceable: Unenforceable, again: bool = False) -> Iterator[str]:
    """``deny open → EPERM: NOT ENFORCEABLE``, and what each mechanism says; ``again``: the same as it said before."""
    yield f"{_title(unenforceable.rule)}: NOT ENFORCEABLE" + (", as above" if again else "")
    if again:
        return
    for name, why in unenforceable.reasons:
        yield f"  {name}: {why.reason}" + (f" (would help: {why.hint})" if why.hint else "")


def plain(text: str) -> str:
    """One line that a terminal can be given."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _title(rule: Rule) -> str:
    group = f"{rule.group}: " if rule.group else ""
    return f"{group}{plain(rule.title)}" + ("" if rule.allow else f" → {_outcome(rule.action)}")


def _outcome(action: Action) -> str:
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
    beside = _beside(enforced, rule)
    return shown + more + (f"; {' and '.join(beside)} refused as well" if beside else "")


def _beside(enforced: Enforced, rule: CallRule) -> list[str]:
    """What else is refused because it would do the same; security hooks see what io_submit does."""
    if enforced.mechanism in ("lsm", "fmod_ret"):
        return ["io_uring_setup"] if enforced.guarantees.io_uring == "closed" else []
    closed = names.closes(rule.calls)
    return [name for name in ("io_uring_*", "io_submit") if any(fnmatchcase(call, name) for call in closed)]


def count_lines(plan: EnforcementPlan, counts: Mapping[str, Counts]) -> list[str]:
    """What happened, by rule."""
    lines = []
    for enforced in plan.all_enforced:
        hits = counts[enforced.mechanism].hits.get(enforced.number, 0)
        if not counts[enforced.mechanism].counted and not enforced.rule.allow:
            lines.append(f"{_title(enforced.rule)}: not counted: no second supervisor of seccomp can be had here")
        elif not enforced.rule.allow and (hits or enforced not in plan.standing):
            verb = _VERBS[enforced.action.kind]
            lines.append(f"{_title(enforced.rule)}: {hits} {verb}")
    if lost := sum(each.lost for each in counts.values()):
        lines.append(f"{lost} lines lost, the refusals themselves were not: output was too slow")
    if missed := sum(each.missed for each in counts.values()):
        lines.append(f"{missed} times the kernel skipped a program: what was asked then was not judged")
    if strays := sum(each.not_followed for each in counts.values()):
        lines.append(
            f"{strays} births of processes missed: what such children and their descendants did was not refused"
        )
    return lines
