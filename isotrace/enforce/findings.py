"""What was found of the kernel, which mechanisms judge by: features probed when they are first asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from isotrace.enforce import Finding
from isotrace.enforce.calls import entries
from isotrace.enforce.hooks import coverage
from isotrace.enforce.mechanisms import FEATURES
from isotrace.kernel import attachable, landlock


@dataclass(frozen=True)
class Found:
    """A finding of its own, for what ``isotrace.kernel.features`` does not know."""

    verdict: Literal["yes", "no", "unknown"]
    why: str
    remedy: str = ""


class KernelFindings(Mapping[str, Finding]):
    """The features that mechanisms ask about, as this kernel has them for this user, and the details of ``_DETAILS``.

    What could not be told is asked again with the next look. ``known`` has been found already.
    """

    def __init__(self, known: Mapping[str, Finding] | None = None) -> None:
        self._found: dict[str, Finding] = dict(known or {})

    def __getitem__(self, name: str) -> Finding:
        mechanism, colon, detail = name.partition(":")
        if name not in FEATURES and not (colon and mechanism in _DETAILS):
            raise KeyError(name)
        known = self._found.get(name)
        if known is None or known.verdict == "unknown":
            self._found[name] = _DETAILS[mechanism](detail) if colon else _probe(name)
        return self._found[name]

    def known(self) -> dict[str, Finding]:
        """Every feature, and the details that have been asked about."""
        return {**self, **self._found}

    def __iter__(self) -> Iterator[str]:
        return iter(FEATURES)

    def __len__(self) -> int:
        return len(FEATURES)


def _hook(means: Sequence[Callable[[str], Finding]]) -> Callable[[str], Finding]:
    """Whether a program at a hook loads by one of ``means``."""

    def probe(hook: str) -> Finding:
        found = [one(hook) for one in means]
        return next((one for one in found if one.verdict == "yes"), found[0])

    return probe


def _entry(takes: Callable[[str], Finding]) -> Callable[[str], Finding]:
    """Whether the functions of a call take programs: the native ones, or with ``CALL@i386`` the others.

    A call without a function that isotrace knows may not exist here: enforce/selftest/child.py finds out.
    """

    def probe(detail: str) -> Finding:
        call, compat, _ = detail.partition("@")
        found = [takes(function) for function in entries.functions(call) if entries.is_i386(function) == bool(compat)]
        return next((one for one in found if one.verdict != "yes"), Found("yes", "every function takes one"))

    return probe


def _by_fmod_ret(hook: str) -> Finding:
    return attachable.fmod_ret(coverage.function(hook))


def _landlock(wanted: str) -> Finding:
    found = landlock.abi()
    if found >= int(wanted):
        return Found("yes", f"Landlock's ABI is {found}")
    return Found(
        "no", f"Landlock's ABI is {found}, and {wanted} is needed", f"Linux {landlock.SINCE[int(wanted)]} or later"
    )


#: ``MECHANISM:WHAT`` → whether the mechanism's programs can be attached there.
_DETAILS: dict[str, Callable[[str], Finding]] = {
    "lsm": _hook((attachable.lsm, _by_fmod_ret)),
    "fmod_ret": _hook((_by_fmod_ret,)),
    "fmod_ret_call": _entry(attachable.fmod_ret),
    "override": _entry(attachable.override),
    "landlock": _landlock,
}


def _probe(name: str) -> Finding:
    if name == "seccomp_notify":
        from isotrace.enforce.calls import notify

        found = notify.listens()
        remedy = "" if found.verdict == "yes" else "Linux 5.6 or later, and no other supervisor around"
        return Found(found.verdict, found.why, remedy)
    from isotrace.kernel import features

    return features.check(name)
