"""What a guest's console and its link say of a run. Pure: a recorded console is enough to test it."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from .link import Link

#: What a kernel in trouble prints; of one line the first match names the kind.
SIGNS = (
    ("panic", r"Kernel panic - not syncing"),
    ("soft lockup", r"BUG: soft lockup"),
    ("hard lockup", r"hard LOCKUP"),
    ("rcu stall", r"rcu\w*: INFO: .*(stall|starved)|\brcu_\w+ (self-)?detected .*stall"),
    ("oops", r"\bOops\b.*:|kernel BUG at|\bBUG: (unable|kernel NULL)|general protection fault|double fault:"),
    ("bug", r"\bBUG: |UBSAN: |KASAN: |KFENCE: "),
    ("hung task", r"INFO: task .* blocked for more than"),
    ("warning splat", r"WARNING: (CPU: |.* at |.*lock)|suspicious RCU usage"),
    ("init failure", r"isotrace-init: "),
)
#: Bits of /proc/sys/kernel/tainted that mean trouble. Modules from elsewhere (O, E) and the like are none.
TAINTS = {2: "forced unload", 4: "machine check", 5: "bad page", 7: "oops", 9: "warning", 14: "soft lockup"}
TAIL = 25  # lines of console that are shown


class Ending(enum.Enum):
    """How a boot came to its end, seen from outside."""

    STOPPED = "the machine stopped"
    NO_BOOT = "hang at boot: the guest did not come up in time"
    SILENT = "hang: the guest fell silent"
    OVERTIME = "hang: the guest was not done in time"


@dataclass(frozen=True)
class Verdict:
    """``problem`` is "" when the run is to be believed and its command ended with 0; ``tail`` is console to
    show."""

    problem: str = ""
    tail: str = ""


def judge(console: str, link: Link, ending: Ending) -> Verdict:
    """Believe a run only if nothing at all speaks against it."""
    lines = [printable(line) for line in console.replace("\r", "").split("\n")]
    found = troubles(lines)
    problem = _trouble_text(lines, found) or _ending_text(ending, link) or _status_text(link)
    if not problem:
        return Verdict()
    if link.running and link.exit is None:
        problem += f", in {link.running}"
    first = found[0][1] if found else len(lines)
    start = max(0, min(first - 3, len(lines) - TAIL))
    only_tests = link.exit is not None and not found and ending is Ending.STOPPED
    return Verdict(problem, "" if only_tests else "\n".join(lines[start : start + TAIL]).strip("\n"))


def troubles(lines: list[str]) -> list[tuple[str, int]]:
    """The kinds of trouble that a console shows, each with the number of its first line, in order of
    appearance."""
    first: dict[str, int] = {}
    for number, line in enumerate(lines):
        kind = next((kind for kind, pattern in SIGNS if re.search(pattern, line)), None)
        if kind:
            first.setdefault(kind, number)
    return list(first.items())


def _trouble_text(lines: list[str], found: list[tuple[str, int]]) -> str:
    if not found:
        return ""
    worst = min(found, key=lambda trouble: [kind for kind, _ in SIGNS].index(trouble[0]))
    others = [kind for kind, _ in found if kind != worst[0]]
    text: str = re.sub(r"^\[ *[\d.]+\](\[ *\w+\])? ", "", lines[worst[1]]).strip()
    return f"{worst[0]}: {text}" + (f" (also {', '.join(others)})" if others else "")


def _ending_text(ending: Ending, link: Link) -> str:
    if ending is not Ending.STOPPED:
        return str(ending.value)
    if link.damage:
        return f"the link to the guest is damaged: {link.damage}"
    if link.up is None:
        return "the guest stopped before it came up"
    return "the guest ended without a status" if link.exit is None else ""


def _status_text(link: Link) -> str:
    if taints := [name for bit, name in TAINTS.items() if link.tainted >> bit & 1]:
        return f"the kernel is tainted: {', '.join(taints)}"
    if failed := link.count("failed"):
        return f"{failed} of {len(link.tests)} tests failed"
    return f"the command ended with status {link.exit}" if link.exit else ""


def printable(text: str) -> str:
    """Text from a guest without the characters that a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\t" else "�" for char in text)
