"""One kernel from find to verdict: the tests, or any command, in a guest of it."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isotrace.errors import IsotraceError

from .archive import Say
from .attacks import attacks
from .boot import LINK, Limits, Machine, boot
from .build import artefacts
from .errors import UnavailableError, from_oserror
from .headers import headers
from .link import Link
from .matrix import ROOT, VM, Kernel
from .module import module
from .package import package
from .stage import each, explain
from .unpack import Artefacts
from .verdict import judge, printable

#: What runs in every guest: the live tests, and the tests beside kernels.toml.
TESTS = (ROOT / "tests" / "live", VM)
PYTEST = (
    "-m",
    "pytest",
    "-p",
    "tests.vm.plugin",
    "-p",
    "no:cacheprovider",
    "--tb=short",
    "-o",
    "faulthandler_timeout=600",
)
#: What the host's environment may say of the tests in tests/vm/stress.
PASSED_ON = ("ISOTRACE_STRESS_KERNEL", "ISOTRACE_STRESS_CYCLES", "ISOTRACE_FUZZ_MESSAGES")
PROGRESS = 30.0  # seconds between two words on how far the tests are


@dataclass(frozen=True)
class Row:
    """A kernel's line in the table. ``tested`` is false when there was no guest; ``problem`` is "" when all
    is well; ``without`` is why the kernel module could not be tested there; ``failures`` are the tests that failed, each
    with the end of what it said."""

    name: str
    release: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0
    problem: str = ""
    hint: str = ""
    tested: bool = True
    unavailable: bool = False
    without: str = ""
    failures: tuple[tuple[str, str], ...] = ()


def run(
    kernel: Kernel,
    say: Say,
    command: Sequence[str] = (),
    limits: Limits | None = None,
    with_headers: bool = False,
    lenient: bool = False,
) -> Row:
    """Boot ``kernel``, run ``command`` in it (by default the tests), and say how it went.

    ``with_headers`` puts the headers to build modules with in the guest's /lib/modules, where packages for
    that kernel exist. ``lenient``: a kernel that is tested on demand only is left out. Raises nothing of the bench: what
    goes wrong is the row's problem.
    """
    start = time.monotonic()
    try:
        if lenient and kernel.on_demand:
            raise UnavailableError("it takes long: make vm alone has it", f"make vm K={kernel.name}")
        ready = artefacts(kernel, say)
        build = headers(kernel, say) if with_headers and (kernel.image or kernel.on_demand) else None
        kernel, own, without = _module(kernel, say)
        wanted = command or pytest_command(kernel.tests or TESTS, kernel.marker)
        tree = package(say) if kernel.package else None
        script = job(kernel, wanted, build, own, attacks(say), ready.modules, tree)
        return replace(_run(kernel, ready, say, script, limits), without=without)
    except (IsotraceError, OSError) as caught:
        error = from_oserror(caught) if isinstance(caught, OSError) else caught
    say(f"not tested: {explain(error)}")
    seconds = time.monotonic() - start
    row = Row(kernel.name, seconds=seconds, problem=error.message, hint=error.hint, tested=False)
    return replace(row, unavailable=isinstance(error, UnavailableError))


def _module(kernel: Kernel, say: Say) -> tuple[Kernel, Path | None, str]:
    """The kernel as it can be tested, the directory of the kernel module for it, and why it is tested without."""
    if "lkm" not in kernel.features:
        return kernel, None, ""
    try:
        return kernel, module(kernel, say), ""
    except UnavailableError as error:
        say(f"tested without the kernel module: {explain(error)}")
        return replace(kernel, features=kernel.features - {"lkm"}), None, explain(error)


def _run(kernel: Kernel, ready: Artefacts, say: Say, script: str, limits: Limits | None) -> Row:
    link = Link(Narrator(say))
    say("boot")
    result = boot(ready, script, link, machine_of(kernel), limits)
    verdict = judge(result.console, link, result.ending)
    passed, failed, skipped = (link.count(outcome) for outcome in ("passed", "failed", "skipped"))
    failures = tuple(
        (name, printable(link.texts.get(name, "").strip().split("\n")[-1]))
        for name, outcome in link.tests.items()
        if outcome == "failed"
    )
    row = Row(kernel.name, link.release, passed, failed, skipped, result.seconds, verdict.problem, failures=failures)
    if link.output and not link.tests:
        say("\n".join(f"  output| {line}" for line in _output(link)))
    if verdict.problem:
        _explain_failure(link, verdict.problem, verdict.tail, say)
    say(f"{row.passed} passed, {row.failed} failed, {row.skipped} skipped in {row.seconds:.0f} s")
    return row


def machine_of(kernel: Kernel) -> Machine:
    """The guest that the kernel is to have."""
    return Machine(kernel.append, kernel.processors, kernel.mitigations, cx16=kernel.package)


def _explain_failure(link: Link, problem: str, tail: str, say: Say) -> None:
    say(f"FAILED: {problem}")
    if tail:
        say("\n".join(f"  console| {line}" for line in tail.split("\n")))
    if link.exit and link.tests and not link.count("failed"):
        say("\n".join(f"  output| {line}" for line in _output(link)[-40:]))


def _output(link: Link) -> list[str]:
    return [printable(line) for line in link.output.replace("\r", "").strip().split("\n")]


class Narrator:
    """Says what is worth hearing while a guest runs: that it is up, which tests fail, how far it is."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.tests = 0
        self.spoke = time.monotonic()

    def __call__(self, message: dict[str, Any]) -> None:
        if "up" in message:
            self.say(f"up after {message['up']:.1f} s: {printable(message['release'])}")
        if "test" in message:
            self.tests += 1
        if message.get("outcome") == "failed":
            self.say(f"FAILED {message['test']}")
            self.say("\n".join(f"  {printable(line)}" for line in message["text"].split("\n")))
        if "start" in message and time.monotonic() - self.spoke > PROGRESS:
            self.spoke = time.monotonic()
            self.say(f"{self.tests} tests done, now {message['start']}")


def pytest_command(tests: Sequence[Path], marker: str = "") -> list[str]:
    """What runs ``tests`` in a guest, those that are there: files or single ones (FILE::TEST); ``marker``: with it only."""
    wanted = ["-m", f"{marker} and not native" if marker else "not native"]
    return [sys.executable, *PYTEST, *wanted, *(str(test) for test in tests if Path(str(test).split("::")[0]).exists())]


def environment(kernel: Kernel) -> dict[str, str]:
    """What the tests in a guest know of its kernel."""
    return {
        "ISOTRACE_VM_KERNEL": kernel.name,
        "ISOTRACE_VM_FEATURES": ",".join(sorted(kernel.features)),
        "ISOTRACE_TEST_PATIENCE": "300",  # seconds; less than boot.Limits.stuck, so that a test can say what it waits for
        "PYTHONFAULTHANDLER": "1",
        "PYTHONPATH": str(ROOT),
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
    }


def job(
    kernel: Kernel,
    command: Sequence[str],
    build: Path | None = None,
    own: Path | None = None,
    programs: Path | None = None,
    modules: Path | None = None,
    tree: Path | None = None,
) -> str:
    """The guest's job: ``command`` in the checkout, under the agent that reports on it.

    ``build`` becomes the kernel's /lib/modules/RELEASE/build, ``own`` the place where isotrace looks for its module;
    in ``programs`` the tests find the attacks, in ``modules`` tests/vm/modules.py the kernel's modules, in ``tree`` the
    files of isotrace's package.
    """
    link = 'directory=/lib/modules/$(uname -r) && mkdir -p "$directory" && ln -sfn {} "$directory/build"\n'
    variables = [f"{name}={value}" for name, value in environment(kernel).items()]
    variables += [f"ISOTRACE_ATTACKS={programs}"] if programs else []
    variables += [f"ISOTRACE_VM_MODULES={modules}"] if modules else []
    variables += [f"ISOTRACE_VM_PACKAGE={tree}"] if tree else []
    agent = [sys.executable, "-S", str(VM / "guest.py"), LINK]
    start = f"cd {shlex.quote(str(ROOT))} && {shlex.join(['env', *variables, *agent, *command])}\n"
    ours = (
        f'mkdir -p /var/lib/isotrace && ln -sfn {shlex.quote(str(own))} "/var/lib/isotrace/$(uname -r)"\n'
        if own
        else ""
    )
    return (link.format(shlex.quote(str(build))) if build else "") + ours + start


def shell_job(kernel: Kernel) -> str:
    """A shell on the guest's console instead."""
    variables = [f"{name}={value}" for name, value in environment(kernel).items()]
    inner = "stty sane; echo 'Ctrl-A X leaves the guest'; exec bash -i"
    words = shlex.join(["env", *variables, "TERM=linux", "setsid", "-c", "sh", "-c", inner])
    return f"cd {shlex.quote(str(ROOT))}; {words} </dev/ttyS0 >/dev/ttyS0 2>&1\n"


if __name__ == "__main__":
    each(run)
