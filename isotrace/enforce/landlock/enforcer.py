"""Landlock at work: a ruleset that is made before the command is forked, and holds it from before its execve."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from isotrace.decode.quote import quote
from isotrace.enforce import Counts, Enforced, Refused
from isotrace.enforce.landlock import places, ports, rights, tree
from isotrace.enforce.landlock.mechanism import READABLE
from isotrace.enforce.landlock.places import Place, TooMany
from isotrace.errors import KernelError, UsageError
from isotrace.kernel import landlock as kernel
from isotrace.policy.model import NetRule, PathRule
from isotrace.process.launch import Execute
from isotrace.process.telling import tell
from isotrace.trace.target import Target

_LOG = logging.getLogger(__package__)
_SHOWN = 6  # exceptions that are named in a line
_UNCOUNTED = "Landlock tells nobody what it denies"


def make(enforced: Sequence[Enforced], target: Target) -> Landlock:
    """The enforcer for the rules. Raises ``UsageError``, ``KernelError``."""
    del target  # a command and all that descends from it: what a ruleset is inherited by
    readable = any(READABLE in one.guarantees.short for one in enforced)
    paths = [_read(one.rule) if readable else one.rule for one in enforced if isinstance(one.rule, PathRule)]
    nets = [one.rule for one in enforced if isinstance(one.rule, NetRule)]
    return Landlock(paths, nets)


def _read(rule: PathRule) -> PathRule:
    """An exception for executing as one for reading, too: without that it would be none."""
    return replace(rule, access=rule.access | {"r"}) if rule.allow and "x" in rule.access else rule


class Landlock:
    """An ``Enforcer``. It needs isotrace no more once the command runs."""

    def __init__(self, paths: Sequence[PathRule], nets: Sequence[NetRule]) -> None:
        self._ruleset = -1
        abi = kernel.abi()
        letters = places.denied_letters(paths)
        found = _places(paths, abi) if letters else []
        tcp = kernel.BIND_TCP | kernel.CONNECT_TCP if ports.denies_tcp(nets) else 0
        scopes = kernel.SCOPE_ABSTRACT_UNIX if ports.scoped(nets) else 0
        handled = rights.handled(letters, abi)
        if not (handled or tcp or scopes):
            return
        try:
            self._ruleset = kernel.create(handled, tcp, scopes)
            _LOG.debug(
                "ABI %d: ruleset handles access %#x of files, %#x of ports, scopes %#x", abi, handled, tcp, scopes
            )
            for place in found:
                _allow(self._ruleset, place)
            allowed = tuple(ports.allowed(nets)) if tcp else ()
            for port in allowed:
                kernel.allow_port(self._ruleset, tcp, port)
            _LOG.debug("%d path rules, %d port rules", len(found), len(allowed))
        except OSError as error:
            self.close()
            raise KernelError(
                f"landlock: {error.strerror}", "isotrace doctor shows what Landlock can do here"
            ) from None

    def starter(self) -> Execute:
        """Holds the process to the ruleset; it leaves execve to what comes next."""
        return self._restrict

    def _restrict(self, path: str, argv: Sequence[str], let_go: Callable[[], object]) -> None:
        del path, argv, let_go
        if self._ruleset >= 0:
            kernel.restrict(self._ruleset)

    def open(self, pid: int | None) -> None:
        """The command holds itself to it. Raises ``KernelError``."""
        if pid is None:
            raise KernelError("Landlock works only in a command that isotrace starts", "isotrace block … -- CMD")

    def wait(self, seconds: float) -> None:
        """Nothing is told."""
        time.sleep(seconds)

    def batches(self) -> Iterator[Sequence[Refused]]:
        """Nothing is told."""
        return iter(())

    def broken(self) -> str:
        """Nobody can take it away."""
        return ""

    def alive(self) -> bool:
        """Nobody needs isotrace for it."""
        return False

    def lift(self) -> None:
        """That cannot be: the plan says so."""

    def counts(self) -> Counts:
        """There are none."""
        return Counts(counted=False, uncounted=_UNCOUNTED)

    def close(self) -> None:
        """Leave the processes to their ruleset."""
        if self._ruleset >= 0:
            os.close(self._ruleset)
        self._ruleset = -1


def _places(rules: Sequence[PathRule], abi: int) -> list[Place]:
    files, led = tree.Files(), tree.led(rules)
    try:
        found = places.allowed(led, files, abi)
    except TooMany:
        raise UsageError(
            f"the rules on paths need more than {places.MOST} single files in Landlock's ruleset",
            "name directories in which everything is allowed or everything is denied",
        ) from None
    lost = {
        "do not exist yet, and are not excepted when they do": tree.missing(led),
        "are directories without what is in them, which Landlock cannot except": tree.directories(led),
        "are files that have other names as well, which Landlock cannot tell apart, and are not excepted": tree.shared(
            led
        ),
    }
    for why, each in lost.items():
        if paths := [str(rule.pattern) for rule in each]:
            tell([f"landlock: {_named(paths)} {why}"])
    if files.unlisted:
        tell([f"landlock: you cannot list {_named(files.unlisted)}: everything in there is denied"])
    return found


def _named(paths: Sequence[str]) -> str:
    shown = ", ".join(quote(os.fsencode(path)) for path in list(dict.fromkeys(paths))[:_SHOWN])
    more = len(set(paths)) - _SHOWN
    return shown + (f" and {more} more" if more > 0 else "")


def _allow(ruleset: int, place: Place) -> None:
    """Unless something else is there by now, or nothing."""
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        opened = os.open(place.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(opened)
            alike = stat.S_ISDIR(found.st_mode) if place.directory else found.st_nlink == 1
            if alike and os.readlink(f"/proc/self/fd/{opened}") == place.path:
                kernel.allow_below(ruleset, place.rights, opened)
                _LOG.debug(
                    "path rule: access %#x %s %s", place.rights, "below" if place.directory else "at", place.path
                )
        finally:
            os.close(opened)
