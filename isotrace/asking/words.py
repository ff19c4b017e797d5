"""Answers as they are written: at a prompt, by a program, on a command line. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from isotrace import units
from isotrace.asking.desk import Scope
from isotrace.asking.lasting import Written
from isotrace.enforce import Verdict
from isotrace.errors import UsageError

VERDICTS: dict[str, Verdict] = {
    **dict.fromkeys(("allow", "a", "yes", "y"), "allow"),
    **dict.fromkeys(("deny", "d", "no", "n"), "deny"),
    **dict.fromkeys(("kill", "k"), "kill"),
}
_SCOPES = {
    **dict.fromkeys(("once", "o"), "once"),
    **dict.fromkeys(("process", "p"), "process"),
    **dict.fromkeys(("program", "g"), "program"),
    **dict.fromkeys(("always", "w"), "always"),
}
HOW = "allow, deny or kill, and for what: once, process, program, always, always 2, 10m"


def verdict(word: str) -> Verdict:
    """``allow``, ``deny`` or ``kill``, or its letter. Raises ``UsageError``."""
    if word not in VERDICTS:
        raise UsageError(f"{shown(word)} is no answer", HOW)
    return VERDICTS[word]


def scope(words: Sequence[str], choices: Sequence[Written]) -> Scope:
    """What follows: nothing for once, one of the scopes, or a duration. ``choices`` are the rules for always.

    Raises ``UsageError``.
    """
    if not words:
        return Scope()
    if len(words) == 1 and re.fullmatch(r"w[1-9]", words[0]):  # as the prompt shows them
        words = ["w", words[0][1:]]
    if len(words) > 2 or (len(words) == 2 and _SCOPES.get(words[0]) != "always"):
        raise UsageError(f"{shown(' '.join(words))} is more than one scope", HOW)
    kind = _SCOPES.get(words[0])
    if kind == "always":
        return Scope("always", rule=_choice(words[1] if len(words) == 2 else "1", choices))
    return Scope(kind) if kind else Scope("time", _seconds(words[0]))


def _choice(word: str, choices: Sequence[Written]) -> Written:
    if not choices:
        raise UsageError("no rule can be written for always", "answer for the process, the program or a time")
    for number, written in enumerate(choices, 1):
        if word in (str(number), written.word, written.text):
            return written
    raise UsageError(f"{shown(word)} is not one of the rules", f"1 to {len(choices)}, or one of them as it is written")


def _seconds(word: str) -> float:
    try:
        return units.duration(word)
    except UsageError:
        raise UsageError(f"{shown(word)} is not a scope", HOW) from None


def shown(text: str) -> str:
    """What somebody wrote, quoted and short."""
    return ascii(text[:40] + "…" * (len(text) > 40))
