"""Runs the ``console`` blocks of the documentation as they are written, and compares what they print.

A line that begins with ``$ `` or ``# `` is a command, the lines below it are what it prints, on both outputs. … stands for
anything within a line, alone for any number of lines. Pids, times and addresses may be others. What isotrace shows of
calls, what it says and what the commands write are compared apart: nothing says in which order they come to the terminal.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.live.tracer import PATIENCE, ROOT, environment
from tests.terminal import Terminal

PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])
_END = "--end-of-output--"
#: What isotrace says on a machine that is slow.
_SLOW = re.compile(r"isotrace: (.* takes long, \d+ s so far: .*|writing [\d,]+ calls that were already seen; .*)")
#: What is another every time.
_VARIES = (r"^(\d\d:\d\d:\d\d\.\d{6} )?\d+ (?=\S+  )", r"0x[0-9a-f]{4,}", r"(?<=/\* )\d+(?= vars)", r"(?<=\.arrow:)\d+")
#: Who writes a line: isotrace about a call, isotrace about itself; anybody else.
_VOICES = (re.compile(r"(\d\d:\d\d:\d\d\.\d{6} )?\d+ \S+  "), re.compile("isotrace: "))

#: A place of its own: without the machine's homes, temporary files and sockets. Its network is itself, also as 192.0.2.1.
_APART = """
declare -A kept
for place in {keep}; do exec {{fd}}<"$place"; kept[$place]=$fd; done
for place in /home /root /run /srv; do [ ! -d $place ] || mount -t tmpfs -o mode=755 apart $place; done
mount -t tmpfs -o mode=1777 apart /tmp
for place in "${{!kept[@]}}"; do
  fd=${{kept[$place]}}; mkdir -p "$place"; mount --no-canonicalize --bind /proc/self/fd/$fd "$place"; exec {{fd}}<&-
done
(echo 'alice:x:1000:1000::/home/alice:/bin/sh'; cat /etc/passwd) >/run/passwd; mount --bind /run/passwd /etc/passwd
ip link set lo up; ip address add 192.0.2.1/32 dev lo
mkdir -p /srv/app; cd /srv/app
"""
_UNSHARE = ("unshare", "--mount", "--net", "--propagation", "private")


@dataclass(frozen=True)
class Block:
    """A ``console`` block of a page, by what its first command begins with, and how it is run."""

    page: str
    begins: str
    before: str = ""  # shell, in /srv/app: what the block finds there; it prints nothing
    varies: tuple[str, ...] = ()  # beside what always does
    needs: tuple[str, ...] = ()  # programs, beside isotrace's own

    @property
    def steps(self) -> list[tuple[str, list[str]]]:
        """(command, the lines that it is to print), of this block alone."""
        found = [steps for steps in blocks((ROOT / self.page).read_text()) if steps[0][0].startswith(self.begins)]
        assert len(found) == 1, f"{len(found)} blocks of {self.page} begin with {self.begins!r}"
        return found[0]


def blocks(text: str, kinds: Collection[str] = ("console",)) -> list[list[tuple[str, list[str]]]]:
    """Of each block of these kinds: (command, the lines that it is to print)."""
    found = []
    for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if kind not in kinds:
            continue
        steps: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith(("$ ", "# ")):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
        found.append(steps)
    return found


def matches(printed: Sequence[str], claimed: Sequence[str], varies: Collection[str] = ()) -> bool:
    """Whether the lines are those that the page shows."""
    pairs = zip(_by_voice(printed), _by_voice(claimed), strict=True)
    return all(_match(ours, theirs, (*_VARIES, *varies)) for ours, theirs in pairs)


def _voice(line: str) -> int:
    return next((at for at, voice in enumerate(_VOICES) if voice.match(line)), len(_VOICES))


def _by_voice(lines: Sequence[str]) -> list[list[str]]:
    """The lines of each voice; a line … is in all of them."""
    return [[line for line in lines if line == "…" or _voice(line) == voice] for voice in range(len(_VOICES) + 1)]


def _match(printed: Iterable[str], claimed: Iterable[str], varies: Iterable[str]) -> bool:
    def even(line: str) -> str:
        for pattern in varies:
            line = re.sub(pattern, "\0", line)
        return line

    parts = ["(?:.*\n)*?" if line == "…" else _pattern(even(line)) + "\n" for line in claimed]
    return bool(re.fullmatch("".join(parts), "".join(f"{even(line)}\n" for line in printed)))


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, line.split("…")))


def run(page: Path, where: Path, *kinds: str) -> None:
    """Run a page from its first block to its last, in one shell; an assertion says which command printed what else.

    ``where`` gets a program called isotrace. ``kinds``: of blocks beside ``console``, for kernels that can do these.
    """
    with _shell(["bash"], environment(PATH=f"{where}:{os.environ['PATH']}"), where) as shell:
        for steps in blocks(page.read_text(), {"console", *kinds}):
            _compare(shell, steps)


def run_block(block: Block, where: Path) -> None:
    """Run one block where it finds nothing but what it needs, as root, away from the machine's files and networks."""
    with _shell([*_UNSHARE, "bash"], _bare(where), where) as shell:
        _prepare(shell, _apart(where))
        _prepare(shell, block.before)
        _compare(shell, block.steps, block.varies)


def run_here(block: Block, where: Path) -> None:
    """Run one block that traces nothing and needs nobody's rights, in a directory of its own."""
    with _shell(["bash"], _bare(where), where) as shell:
        _prepare(shell, f"cd {where}\n{block.before}")
        _compare(shell, block.steps, block.varies)


@contextmanager
def on_a_terminal(block: Block, where: Path, width: int, height: int) -> Iterator[tuple[Terminal, list[str]]]:
    """The block's only command begins on a terminal of its own: that, and the lines that it is to show."""
    (command, claimed), *more = block.steps
    assert not more, "one command on one terminal"
    _furnish(where)
    words = (f"export {name}='{value}'\n" for name, value in _bare(where).items())
    script = where / "script"
    script.write_text("".join(words) + f"{_apart(where)}{block.before}\nclear\n{command}\necho {_END}\nsleep 1000\n")
    terminal = Terminal(where / "tmux")
    try:
        terminal.run(f"exec {' '.join(_UNSHARE)} bash {script}", width, height)
        yield terminal, claimed
    finally:
        terminal.hang_up()


def answer(block: Block, where: Path) -> None:
    """Run a block that asks on a terminal: a line that begins with ``> `` is what a person types there."""
    with on_a_terminal(block, where, 250, 50) as (terminal, claimed):
        for line in claimed:
            if line.startswith("> "):
                terminal.wait("^>$")
                terminal.keys(line[2:], "Enter")
        terminal.wait(f"^{_END}")
        printed = terminal.all().partition(_END)[0].splitlines()
        assert matches(printed, claimed, block.varies), f"printed {printed}\nnot {claimed}"


def look(block: Block, where: Path, width: int, height: int) -> None:
    """Run a block that shows a live table, until each line that the page has is there, in whatever order; q ends it."""
    with on_a_terminal(block, where, width, height) as (terminal, claimed):
        deadline = time.monotonic() + PATIENCE
        while missing := [
            line for line in claimed if line != "…" and not _shown(line, terminal.screen(), block.varies)
        ]:
            assert time.monotonic() < deadline, f"not on the screen: {missing}\n{terminal.screen()}"
            time.sleep(0.2)
        terminal.keys("q")
        terminal.wait(f"^{_END}")


def _shown(line: str, screen: str, varies: Collection[str]) -> bool:
    return any(_match([one.rstrip()], [line], varies) for one in screen.splitlines())


def _bare(where: Path) -> dict[str, str]:
    """The variables of somebody who set none."""
    path = f"{where}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/root", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}


def _apart(where: Path) -> str:
    hidden = tuple(f"{name}/" for name in ("/home", "/root", "/run", "/srv", "/tmp"))
    keep = dict.fromkeys(map(str, (ROOT, where, sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix))))
    return _APART.format(keep=" ".join(f"'{place}'" for place in keep if place.startswith(hidden)))


def _furnish(where: Path) -> None:
    """A program that is called isotrace, as an installed one is."""
    program = where / "isotrace"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom isotrace.__main__ import main\nsys.exit(main())\n")
    program.chmod(0o755)


@contextmanager
def _shell(command: Sequence[str], variables: dict[str, str], where: Path) -> Iterator[subprocess.Popen[str]]:
    _furnish(where)
    shell = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        text=True, cwd=ROOT, env=variables,
    )  # fmt: skip
    patience = threading.Timer(6 * PATIENCE, os.killpg, (shell.pid, signal.SIGKILL))
    patience.start()
    try:
        yield shell
    finally:
        patience.cancel()
        os.killpg(shell.pid, signal.SIGKILL)
        shell.communicate()


def _prepare(shell: subprocess.Popen[str], script: str) -> None:
    assert (printed := _do(shell, script)) == [], printed


def _compare(
    shell: subprocess.Popen[str], steps: Sequence[tuple[str, list[str]]], varies: Collection[str] = ()
) -> None:
    for command, claimed in steps:
        printed = _do(shell, command)
        assert matches(printed, claimed, varies), "\n".join([command, "printed", *printed, "not", *claimed])


def _do(shell: subprocess.Popen[str], command: str) -> list[str]:
    """The lines that it prints."""
    assert shell.stdin and shell.stdout
    shell.stdin.write(f"{command}\necho {_END}\n")
    shell.stdin.flush()
    return list(_until_end(shell.stdout))


def _until_end(output: IO[str]) -> Iterator[str]:
    for line in output:
        if line.rstrip("\n") == _END:
            return
        if not _SLOW.fullmatch(line.rstrip("\n")):
            yield line.rstrip("\n")
    raise AssertionError("the shell ended, or took too long")
