"""The files of this machine as ``places`` looks at them, and rules with the links of their paths followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace

from isotrace.enforce.landlock.places import Entry
from isotrace.kernel.procfs import Mount, is_below, joined, mounts
from isotrace.policy.model import PathRule
from isotrace.policy.patterns import Component, Pattern


class Files:
    """A ``Tree``. ``unlisted`` are directories that could not be listed: what is in them gets no place of its own."""

    def __init__(self, mounted: Sequence[Mount] | None = None) -> None:
        self._mounts = list(mounts() if mounted is None else mounted)
        self.unlisted: list[str] = []

    def entries(self, path: str) -> Sequence[Entry] | None:
        """What is in a directory; None where that cannot be told."""
        try:
            with os.scandir(path) as found:
                return [_entry(one) for one in found]
        except OSError:
            self.unlisted.append(path)
            return None

    def elsewhere(self, path: str) -> Sequence[str]:
        """By what other paths the same file or directory can be reached, by way of other mounts."""
        own = max((one for one in enumerate(self._mounts) if is_below(path, one[1].point)), key=_order, default=None)
        if own is None:
            return ()
        inside = joined(own[1].root, path[len(own[1].point.rstrip("/")) :])
        others = (one for one in self._mounts if one is not own[1] and one.device == own[1].device)
        return [shown for one in others if (shown := one.shown(inside)) is not None]


def _order(numbered: tuple[int, Mount]) -> tuple[int, int]:
    """The mount that a path is on: the deepest, and of several at one place the last."""
    return len(numbered[1].point), numbered[0]


def _entry(one: os.DirEntry[str]) -> Entry:
    directory = one.is_dir(follow_symlinks=False)
    link = one.is_symlink()
    try:
        names = 1 if directory or link else one.stat(follow_symlinks=False).st_nlink
    except OSError:
        names = 0  # it has gone
    return Entry(one.name, directory, link, names)


def led(rules: Sequence[PathRule]) -> list[PathRule]:
    """The rules by what their paths lead to now. A denial also stays on the path as it was written, if that is another."""
    found: list[PathRule] = []
    for rule in rules:
        real = replace(rule, pattern=_led(rule.pattern))
        found += [real] if rule.allow or real.pattern == rule.pattern else [real, rule]
    return found


def _led(pattern: Pattern) -> Pattern:
    literal = next((at for at, part in enumerate(pattern.components) if not part.literal), len(pattern.components))
    names = [part.pieces[0] for part in pattern.components[:literal]]
    real = os.path.realpath("/" + "/".join(names))
    return Pattern((*(Component((name,)) for name in real.split("/") if name), *pattern.components[literal:]))


def missing(rules: Sequence[PathRule]) -> Iterator[PathRule]:
    """Exceptions that name, by their plain names, what is not there yet."""
    for rule in rules:
        path = rule.pattern.exact or rule.pattern.subtree
        if rule.allow and path is not None and not os.path.lexists(path):
            yield rule


def shared(rules: Sequence[PathRule]) -> Iterator[PathRule]:
    """Exceptions for one file that has other names as well."""
    for rule in rules:
        if rule.allow and (path := rule.pattern.exact):
            try:
                found = os.lstat(path)
            except OSError:
                continue
            if not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1:
                yield rule


def directories(rules: Sequence[PathRule]) -> Iterator[PathRule]:
    """Exceptions for a directory without what is in it, which Landlock does not know."""
    for rule in rules:
        if rule.allow and (path := rule.pattern.exact) and os.path.isdir(path):
            yield rule
