"""The kernel report that mechanisms judge by: features probed when they are first asked about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from isotrace.enforce import Finding
from isotrace.enforce.mechanisms import FEATURES


@dataclass(frozen=True)
class Found:
    """A finding of its own, for what ``isotrace.kernel.features`` does not know."""

    verdict: Literal["yes", "no", "unknown"]
    why: str
    remedy: str = ""


class KernelReport(Mapping[str, Finding]):
    """The features that mechanisms ask about, as this kernel has them for this user."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def __getitem__(self, name: str) -> Finding:
        if name not in FEATURES:
            raise KeyError(name)
        if name not in self._found:
            self._found[name] = _probe(name)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(FEATURES)

    def __len__(self) -> int:
        return len(FEATURES)


def _probe(name: str) -> Finding:
    if name == "seccomp_notify":
        from isotrace.enforce import notify

        reason = notify.unavailable()
        return (
            Found("no", reason, "Linux 5.6 or later, and no other supervisor around")
            if reason
            else Found("yes", "tried")
        )
    from isotrace.kernel import features

    return features.check(name)
