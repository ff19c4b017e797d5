"""What the tests of the kernel module share: the module in the kernel, something to refuse to, and rules."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from isotrace.enforce import Grade, Held, lkm
from isotrace.policy import names
from isotrace.policy.model import Action, CallRule
from isotrace.target import Target

FEATURES = os.environ.get("ISOTRACE_VM_FEATURES", "").split(",")
PROGS = Path(__file__).parents[1] / "progs"
DENIED = Action("errno", errno.EXDEV)  # an error that none of these calls gives by itself
KILL, AUDIT = Action("kill"), Action("audit")

#: A process that answers each line, a Python expression, with "ok" or the name of an errno.
WORKER = """
import errno, os, socket, sys
for line in sys.stdin:
    try:
        eval(line)
        print("ok", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"""


def need(feature: str) -> None:
    """Skip where the guest's kernel does not have it."""
    if feature not in FEATURES:
        pytest.skip(f"needs {feature}: of this kernel")


class Worker:
    """A process to be refused something."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.ask("None") == "ok"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def ask(self, expression: str) -> str:
        """What becomes of the expression; "" when the process ended of it."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


def deny(word: str, action: Action = DENIED) -> CallRule:
    """A rule on the calls that a word means."""
    return names.parse(word, action=action)


@contextmanager
def refusing(rules: Sequence[CallRule], target: Target, proven: bool = True) -> Iterator[lkm.Module]:
    """The rules held by the module; not ``proven`` first where a child that is refused all of them could not even try."""
    held = [Held(number, rule, "lkm", Grade(True, "not concerned", True)) for number, rule in enumerate(rules)]
    enforcer = lkm.make(held, target)
    if not proven:
        enforcer._prove = lambda: None  # type: ignore[method-assign]
    enforcer.open(None)
    try:
        yield enforcer
    finally:
        enforcer.close()


def compiled(directory: Path, name: str, *flags: str) -> Path:
    """The program tests/progs/NAME.c."""
    path = directory / name
    subprocess.run(["gcc", "-O1", "-Wall", "-pthread", *flags, "-o", path, PROGS / f"{name}.c"], check=True)
    return path
