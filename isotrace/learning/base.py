"""The base set: what every program does, from base.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from isotrace.policy import NetRule, PathRule, names, nets, paths


@dataclass(frozen=True)
class Base:
    """Rules with why they are there, and calls that are always allowed: by their words, in order."""

    files: tuple[tuple[PathRule, str], ...]
    addresses: tuple[tuple[NetRule, str], ...]
    words: tuple[str, ...]
    why_calls: str
    secrets: tuple[PathRule, ...]

    @property
    def calls(self) -> frozenset[str]:
        """The calls of the words."""
        return frozenset().union(*(names.parse(word).calls for word in self.words))

    def secret(self, path: str) -> bool:
        """Whether a file keeps secrets."""
        return any(rule.pattern.matches(path) for rule in self.secrets)

    def file(self, path: str, letter: str) -> tuple[PathRule, str] | None:
        """The most specific rule that is about this access to a file."""
        found = [pair for pair in self.files if letter in pair[0].access and pair[0].pattern.matches(path)]
        return max(found, key=lambda pair: pair[0].pattern.specificity, default=None)


@cache
def base() -> Base:
    """What is shipped."""
    raw = tomllib.loads((Path(__file__).parent / "base.toml").read_text(encoding="utf-8"))
    return Base(
        tuple((paths.parse(word, allow=True), each["why"]) for each in raw["files"] for word in each["paths"]),
        tuple((nets.parse(word, allow=True), each["why"]) for each in raw["addresses"] for word in each["nets"]),
        tuple(raw["calls"]["words"].split()),
        raw["calls"]["why"],
        tuple(paths.parse(word, allow=False) for word in raw["secrets"]["paths"]),
    )
