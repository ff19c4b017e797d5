"""The words of ``--deny-path`` and ``--allow-path``: ``/etc/shadow``, ``w:/etc/**``, ``rx:/opt/*/bin/``."""

from __future__ import annotations

import re

from isotrace.catalog.expr import show
from isotrace.errors import UsageError
from isotrace.policy import patterns
from isotrace.policy.model import ACCESSES, USUAL_ACCESSES, Action, PathRule


def parse(text: str, *, allow: bool, action: Action | None = None, group: str = "") -> PathRule:
    """The rule that ``[ACCESS:]PATTERN`` writes; without ACCESS it is about r, w and x. Raises ``UsageError``."""
    head, colon, pattern = text.partition(":")
    if text.startswith("/") or not colon or not re.fullmatch(r"[A-Za-z]*", head):
        head, pattern = "", text
    elif not head or set(head) - set(ACCESSES) or len(set(head)) < len(head):
        raise UsageError(
            f"unknown access {show(head)} in {show(text)}",
            "write r, w, x, m or several of them before the colon",
        )
    access = frozenset(head or USUAL_ACCESSES)
    return PathRule(text, allow, access, patterns.parse(pattern), action or Action(), group)
