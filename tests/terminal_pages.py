"""Pages as a user sees them: what is typed, the keys that follow, and what of that does not differ from run to run."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import recorded
from terminal import ROOT, Terminal

from isotrace.cli import VERBS

GOLDEN = ROOT / "tests/golden/terminal"
SIZES = ((80, 24), (200, 50))
_STAGE = f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'tests/staged.py'))}"
_USUAL = {"HOME": "/home/alice", "XDG_STATE_HOME": ".", "TZ": "UTC0", "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
_STATUS = r"^\[status \d+\]$"


@dataclass(frozen=True)
class Page:
    """``command``: the arguments of staged.py. ``steps``: what the screen shows, then the keys that are pressed.

    Without steps it ends by itself, and all that it has printed is the page, or ``first`` the first screen of that.
    ``raw``: its lines may be longer than a terminal is wide.
    """

    command: str
    steps: tuple[tuple[str, str], ...] = ()
    first: bool = False
    raw: bool = False


def _ended(pattern: str) -> tuple[tuple[str, str], ...]:
    return ((pattern, ""),)


_QUERY = "SELECT name, count(*) AS calls FROM calls GROUP BY name ORDER BY name;"
_TABLE, _QUESTION = r"^newfstatat ", r"^for "
PAGES: dict[str, Page] = {
    "isotrace": Page("able"),
    "isotrace-user": Page("user"),
    "help": Page("able --help"),
    **{f"help-{verb}": Page(f"able {verb} --help", first=True) for verb in VERBS},
    "doctor": Page("able doctor"),
    "doctor-locked": Page("locked doctor"),
    "doctor-user": Page("user doctor"),
    "doctor-all": Page("locked doctor --all", first=True),
    "block-refused": Page("locked block --tree $$ --deny connect --deny-path 'w:/etc/**'"),
    "block-plan": Page("able block --tree $$ --deny connect --deny-path 'w:/etc/**'"),
    "block-agent": Page("locked block --policy @agent -- make"),
    "block-typo": Page("able blcok --deny connect -- make"),
    "policy-explain": Page("able policy explain worker.toml"),
    "policy-explain-locked": Page("locked policy explain worker.toml"),
    "policy-show": Page("able policy show"),
    "policy-show-agent": Page("able policy show @agent", raw=True),
    "log": Page("able log --from t.arrow", raw=True),
    "top-once": Page("able top --once --from t.arrow"),
    "top-once-files": Page("able top --once --from t.arrow --by file"),
    "top-recording": Page("able top --from t.arrow", (("^statx|^openat", "End"), ("■|# 1x", ""))),
    "top": Page("top able", _ended(_TABLE)),
    "top-processes": Page("top able", ((_TABLE, "2"), ("^make", ""))),
    "top-files": Page("top able", ((_TABLE, "3"), ("stdio", ""))),
    "top-errors": Page("top able", ((_TABLE, "4"), ("^ENOENT", ""))),
    "top-detail": Page("top able", ((_TABLE, "Enter"), ("inside the kernel", ""))),
    "top-refuse": Page("top able", ((_TABLE, "d"), ("any other key", ""))),
    "top-refuse-locked": Page("top locked", ((_TABLE, "d"), ("any other key", ""))),
    "top-help": Page("top able", ((_TABLE, "?"), ("any key closes", ""))),
    "ask": Page("asks", _ended(_QUESTION)),
    "ask-always": Page("asks", ((_QUESTION, "w"), ("→ 1", ""))),
    "sql": Page("able sql t.arrow", (("^isotrace>$", _QUERY), ("^ *getppid[^$]*isotrace>$", ""))),
}  # fmt: skip

_POLICY = """\
version = 1

[groups.files]
description = "what a worker writes, and what it does not read"
deny-path = ["w:/**", "r:/etc/shadow", "r:/root/**"]
allow-path = ["w:/srv/app/**", "w:/tmp/**"]

[groups.network]
deny-net = "any:"
allow-net = "tcp:*:443"

[groups.kernel]
deny = "ptrace,mount"
"""


def furnish(directory: Path) -> None:
    """Make what the pages are about."""
    recorded.record(directory / "t.arrow")
    (directory / "worker.toml").write_text(_POLICY)


@contextmanager
def shown(
    page: Page, directory: Path, width: int, height: int, colours: bool = False, **environment: str
) -> Iterator[Callable[[], str]]:
    """The page in a terminal of that size, once the keys are pressed: a look at it, without blanks at the ends of lines."""
    terminal = Terminal(directory / "tmux")
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in (_USUAL | environment).items())
    unset = " ".join(f"-u {name}" for name in ("COLUMNS", "LINES", "NO_COLOR", "SUDO_UID"))
    script = f"cd {shlex.quote(str(directory))}; env {unset} {words} {_STAGE} {page.command}"
    try:
        terminal.run(f'{script}; echo "[status $?]"; exec sleep 1000', width, height)
        for pattern, keys in page.steps or _ended(_STATUS):
            terminal.wait(pattern)
            for key in _keys(keys):
                terminal.keys(key)
        if page.steps:
            yield lambda: "".join(_lines(terminal.screen(colours)))
        else:
            yield lambda: "".join(_lines(terminal.all())[: height if page.first else None])
    finally:
        terminal.close()


def settled(look: Callable[[], str]) -> str:
    """What is looked at, once it has been the same for a second."""
    seen = [look()]
    while len(seen) < 5 or len({*seen[-5:]}) > 1:
        time.sleep(0.25)
        seen.append(look())
    return seen[-1]


def _keys(text: str) -> Iterator[str]:
    """A key by its name, or a line with Enter behind it."""
    if " " in text:
        yield from (
            text.removesuffix(";") + "\\;" if text.endswith(";") else text,
            "Enter",
        )  # tmux's own ; ends a command
    elif text:
        yield text


def _lines(screen: str) -> list[str]:
    lines = [line.rstrip() + "\n" for line in screen.splitlines()]
    while lines and lines[-1] == "\n":
        lines.pop()
    return lines
