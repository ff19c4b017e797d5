"""``python -m bench.block [KERNEL]``: what refusing adds to an open and close, in instructions, and the section on it in
docs/benchmarks.md.

A guest of the bench of kernels runs with QEMU's -icount: its clock counts instructions, so that the load of the machine and
other guests do not matter. The same file runs inside, with --inside.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.measure import compile_program
from bench.report import BLOCK_HEADING, with_block
from isotrace.enforce import Enforced, Enforcer, Guarantees, registry
from isotrace.enforce.findings import KernelFindings
from isotrace.policy import names, paths
from isotrace.policy.model import Rule
from isotrace.trace.target import Target

REPORT = Path(__file__).parents[1] / "docs/benchmarks.md"
PATTERNS = 5  # of the 100 rules of the policy with patterns
CROWD = (1, 10, 1000)
TREE = 2000

Row = tuple[str, str, str]


# ---- inside the guest ---------------------------------------------------------------------------------------------------


class Group:
    """A process (bench/progs/openclose.c) and its children."""

    def __init__(self, program: str, path: str) -> None:
        self.process = subprocess.Popen([program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _ask(self, line: str) -> float:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def calibrate(self) -> float:
        """Nanoseconds of the guest's clock for one instruction."""
        return self._ask("calibrate")

    def measure(self) -> float:
        """Nanoseconds of the guest's clock for one open and close in a new child."""
        return self._ask("measure")

    def spawn(self, count: int) -> None:
        """That many idle children more."""
        self._ask(f"spawn {count}")

    def end(self) -> None:
        """End it with its children."""
        self.process.kill()
        self.process.communicate()


def _mechanism() -> str:
    findings = KernelFindings()
    return "lsm" if findings["lsm_bpf"].verdict == "yes" else "fmod_ret"


@contextmanager
def _refusing(mechanism: str, rules: Sequence[Rule], target: Target) -> Iterator[tuple[Enforcer, float]]:
    """The rules at work, and the seconds until they were."""
    enforced = [
        Enforced(number, rule, mechanism, Guarantees(True, "judged", True)) for number, rule in enumerate(rules)
    ]
    start = time.monotonic()
    enforcer = registry.make(mechanism, enforced, target)
    try:
        enforcer.open(None)
        yield enforcer, time.monotonic() - start
    finally:
        enforcer.close()


def _literal(count: int) -> list[Rule]:
    """Rules on writing what is in /etc and /usr/bin, by name."""
    found = sorted(str(path) for directory in ("/etc", "/usr/bin") for path in Path(directory).iterdir())
    plain = [path for path in found if re.fullmatch(r"[\w/.+-]+", path)]
    return [paths.parse(f"w:{path}", allow=False) for path in plain[:count]]


def _patterns(count: int) -> list[Rule]:
    return [paths.parse(f"/home/*/.secret{number}/**", allow=False) for number in range(count)]


def _inside(program: str) -> dict[str, float]:
    """Every figure, by name."""
    where = Path(tempfile.mkdtemp()) / "srv" / "app"
    where.mkdir(parents=True)
    (where / "file").touch()
    path, mechanism = str(where / "file"), _mechanism()
    group, other = Group(program, path), Group(program, path)
    found = {
        "instruction": group.calibrate(),
        "bare": group.measure(),
        "other bare": other.measure(),
        "lsm": float(mechanism == "lsm"),
    }
    children = Target(ppid=group.process.pid)
    policies = {
        "open": [names.parse("open,!openat")],
        "literal": _literal(100),
        "patterns": [*_literal(100 - PATTERNS), *_patterns(PATTERNS)],
    }
    for name, rules in policies.items():
        with _refusing(mechanism, rules, children):
            found |= {f"{name} target": group.measure(), f"{name} other": other.measure()}
    found |= _crowds(mechanism, policies["literal"], program, path)
    for one in (group, other):
        one.end()
    return found


def _crowds(mechanism: str, rules: Sequence[Rule], program: str, path: str) -> dict[str, float]:
    found: dict[str, float] = {}
    group = Group(program, path)
    tree = Target(tree=group.process.pid)
    with _refusing(mechanism, rules, tree) as (_, seconds):
        found["apply 1"], there = seconds, 0
        for count in CROWD:
            group.spawn(count - there)
            there = count
            found[f"tree {count}"] = group.measure()
    group.spawn(TREE - there)
    with _refusing(mechanism, rules, tree) as (_, seconds):
        found[f"apply {TREE}"] = seconds
        found[f"tree {TREE}"] = group.measure()
    group.end()
    return found


# ---- outside ------------------------------------------------------------------------------------------------------------


def _boot(kernel_name: str, say: Callable[[str], None]) -> tuple[str, dict[str, float]]:
    """The guest's release and its figures."""
    from tests.vm.bench.boot import COUNTING, Limits, Machine, boot
    from tests.vm.bench.build import artefacts
    from tests.vm.bench.link import Link
    from tests.vm.bench.matrix import load, select
    from tests.vm.bench.run import job

    kernel = select(load(), [kernel_name])[0]
    link = Link(lambda message: say(message["out"].rstrip()) if "out" in message else None)
    with tempfile.TemporaryDirectory() as scratch:
        program = compile_program("openclose", Path(scratch))
        script = job(kernel, [sys.executable, "-m", "bench.block", "--inside", str(program)])
        boot(
            artefacts(kernel, say),
            script,
            link,
            Machine(kernel.append, accelerator=COUNTING),
            Limits(600, 600, 3600, 3600),
        )
    lines = [line for line in link.output.splitlines() if line.startswith("{")]
    if link.exit or not lines:
        raise SystemExit(f"bench: the guest did not measure: status {link.exit}")
    return link.release, json.loads(lines[-1])


def rows(found: dict[str, float]) -> list[Row]:
    """The figures as lines of a table."""
    bare = found["bare"]
    instruction = found["instruction"]

    def cost(name: str) -> str:
        base = found["other bare"] if name.endswith("other") else bare
        return f"{(found[name] / base - 1) * 100:+.1f} %"

    def row(title: str, name: str, remark: str) -> Row:
        return (
            title,
            cost(name),
            f"{found[name] / instruction:.0f} instructions" + (f"; {remark}" if remark else ""),
        )

    crowd = [row(f"… in a tree of {count}", f"tree {count}", "") for count in (*CROWD, TREE)]
    return [
        ("openat and close, bare", f"{bare / instruction:.0f}", "instructions, of kernel and program together"),
        row("100 path rules, for the target", "literal target", "asked for: at most +15 %"),
        row("… for everyone else", "literal other", "asked for: at most +3 %"),
        row(f"{100 - PATTERNS} path rules and {PATTERNS} patterns, for the target", "patterns target", ""),
        row("… for everyone else", "patterns other", ""),
        row("a rule on calls at the same hook, for the target", "open target", "whom, which call, no walk"),
        row("… for everyone else", "open other", "entering the program, asking for the parent"),
        *crowd,
        *(
            (
                f"a start for a tree of {count}",
                f"{found[f'apply {count}'] / instruction:.2f} G",
                "instructions; one pass",
            )
            for count in (1, TREE)
        ),
    ]


def section(release: str, lsm: bool, lines: Sequence[Row]) -> str:
    """The section as Markdown."""
    how = "as LSM programs" if lsm else "as fmod_ret programs"
    head = [
        BLOCK_HEADING,
        "",
        f"Written by `python -m bench.block`: instructions, counted by QEMU (`-icount`) in a guest of {release}, {how}.",
        "",
        "| what | figure | |",
        "|---|---:|---|",
    ]
    return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def main(argv: Sequence[str]) -> None:
    """Measure in a guest, then write the section."""
    if argv[:1] == ["--inside"]:
        print(json.dumps(_inside(argv[1])), flush=True)
        return
    release, found = _boot(argv[0] if argv else "6.1", lambda line: print(line, flush=True))
    text = section(release, bool(found["lsm"]), rows(found))
    REPORT.write_text(with_block(REPORT.read_text(), text))
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
