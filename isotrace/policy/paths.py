"""The words of ``--deny-path``, ``--allow-path`` and ``--ask-read``: ``/etc/shadow``, ``w:/etc/**``, ``rx:/opt/*/bin/``."""

from __future__ import annotations

import re

from isotrace.catalog.expr import show
from isotrace.errors import UsageError
from isotrace.policy import patterns
from isotrace.policy.model import ACCESSES, HELD, Action, PathRule


def parse(text: str, *, allow: bool, action: Action | None = None, group: str = "") -> PathRule:
    """The rule that ``[ACCESS:]PATTERN`` writes; without ACCESS it is about every access. Raises ``UsageError``."""
    head, colon, pattern = text.partition(":")
    if text.startswith("/") or not colon or not re.fullmatch(r"[A-Za-z]*", head):
        head, pattern = "", text
    elif not head or set(head) - set(ACCESSES) or len(set(head)) < len(head):
        raise UsageError(
            f"unknown access {show(head)} in {show(text)}",
            "write r, w, x or several of them before the colon",
        )
    access = frozenset(head or ACCESSES)
    return PathRule(text, allow, access, patterns.parse(pattern), action or Action(), group)


def parse_read(text: str, *, action: Action, group: str = "") -> PathRule:
    """The rule that asks about reading what ``PATTERN`` matches, also what is open already. Raises ``UsageError``."""
    return PathRule(text, False, frozenset(("r", HELD)), patterns.parse(text), action, group)
