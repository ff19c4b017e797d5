"""A plan in few lines: the rules of a group that are enforced alike together, and each limit in a few words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isotrace.enforce import Enforced, Note
from isotrace.enforce.describe import (
    beside_words,
    enforced_lines,
    kind,
    main_reason,
    outcome,
    plain,
    unenforceable_lines,
)
from isotrace.enforce.plan import EnforcementPlan, Unenforceable
from isotrace.policy.model import StandingRule

_MANY, _FEW = 8, 4  # words of denials: where there are more than many, few are named
_STANDING = "also"  # what begins the line of the rules that isotrace adds


def lines(plan: EnforcementPlan, in_full: str) -> list[str]:
    """Every rule with its mechanism or the reason against it, then the limits; ``in_full`` says where these are in full.

    Whatever is enforced less than asked, or not at all, has its line, as ``describe.plan_lines`` has it.
    """
    found: list[str] = []
    told: set[object] = set()
    for run in _runs(sorted([*plan.all_enforced, *plan.unenforceable], key=lambda entry: entry.number)):
        if isinstance(run[0], Enforced):
            found += _enforced([one for one in run if isinstance(one, Enforced)])
        else:
            why = main_reason(run[0])
            found += unenforceable_lines(run[0], False, why in told)
            told.add(why)
    limits = [*_limits(plan)]
    briefly = any(isinstance(note, Note) for one in plan.all_enforced for note in one.guarantees.notes)
    return [*found, *plan.left_out, *limits, *([f"each limit in full: {in_full}"] if briefly else [])]


def _limits(plan: EnforcementPlan) -> Iterator[str]:
    """A line a mechanism; what several rules have is said once."""
    notes = {note: one.mechanism for one in plan.all_enforced for note in one.guarantees.notes}
    for mechanism in dict.fromkeys(notes.values()):
        words = (note.brief if isinstance(note, Note) else note for note, whose in notes.items() if whose == mechanism)
        yield f"limits of {mechanism}: {'; '.join(words)}"


def _runs(entries: Sequence[Enforced | Unenforceable]) -> Iterator[list[Enforced | Unenforceable]]:
    """Those in a row that one line can say: enforced alike, of one group that has a name, or all added by isotrace."""
    run: list[Enforced | Unenforceable] = []
    for entry in entries:
        if run and not _alike(run, entry):
            yield run
            run = []
        run.append(entry)
    yield from [run] if run else []


def _alike(run: Sequence[Enforced | Unenforceable], entry: Enforced | Unenforceable) -> bool:
    first = run[0]
    if not (isinstance(first, Enforced) and isinstance(entry, Enforced)) or not _group(entry):
        return False
    outcomes = {outcome(one.action) for one in (*run, entry) if isinstance(one, Enforced) and not one.rule.allow}
    return _said(first) == _said(entry) and len(outcomes) <= 1


def _said(one: Enforced) -> object:
    return _group(one), one.mechanism, one.guarantees.text, one.guarantees.short


def _group(one: Enforced) -> str:
    return _STANDING if isinstance(one.rule, StandingRule) else one.rule.group


def _enforced(run: Sequence[Enforced]) -> Iterator[str]:
    first = run[0]
    if len(run) == 1:
        yield from enforced_lines(first)
        return
    yield f"{_group(first)}: {_titles(run)}: {first.mechanism} · {first.guarantees.text}"
    if beside := sorted({words for one in run for words in beside_words(one)}):
        yield f"  {' and '.join(beside)} denied as well"
    for short in first.guarantees.short:
        yield f"  LESS THAN ASKED: {short}"


def _titles(run: Sequence[Enforced]) -> str:
    """``deny-path w:/**, r:/etc/shadow → EACCES; allow-path w:/tmp/**``: of exceptions all, of many denials the first."""
    parts = []
    for allow in (False, True):
        rules = [one for one in run if one.rule.allow is allow]
        words: dict[str, list[str]] = {}
        for one in rules:
            standing = isinstance(one.rule, StandingRule)
            words.setdefault("" if standing else f"{kind(one.rule)} ", []).append(
                plain(one.rule.title if standing else one.rule.title.removeprefix(f"{kind(one.rule)} "))
            )
        said = "; ".join(what + _listed(each, allow) for what, each in words.items())
        parts += [said if allow else f"{said} → {outcome(rules[0].action)}"] if rules else []
    return "; ".join(parts)


def _listed(words: Sequence[str], whole: bool) -> str:
    cut = not whole and len(words) > _MANY
    return ", ".join(words[: _FEW if cut else None]) + (f" and {len(words) - _FEW} more" if cut else "")
