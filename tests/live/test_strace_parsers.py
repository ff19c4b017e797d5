"""Programs that people read strace's files with: they read those of ``--format strace`` as they read strace's own."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import strace_process_tree
import tracer
from flametrace import core
from stracetools.parser import StraceParser, TraceEventType

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: nothing to compare with")

ATTEMPTS = 4
PIPELINE = "echo a | cat | wc -c; (exit 3); ls missing; true & wait; kill -TERM $$"
MAKEFILE = """\
all: one two
\tcat one two | sort | head -1 >$@
one two:
\techo $@ | tr a-z A-Z >$@
"""
MADE = ("all", "one", "two")
_PROGRAMS = ("make", "sh", "threads")


@pytest.fixture(params=_PROGRAMS)
def command(request: pytest.FixtureRequest, compiled: Callable[..., Path], tmp_path: Path) -> list[str]:
    """A program with processes, or with threads, that do something at a time."""
    (tmp_path / "Makefile").write_text(MAKEFILE)
    # It runs before other work of the machine, and one job at a time: who has called vfork goes on before the child has
    # children. Otherwise the two programs that make trees of processes lose some, of strace's own files as well.
    make = ["/usr/bin/chrt", "-f", "1", "/usr/bin/make", "-s"]
    hammer = [str(compiled("hammer", "-pthread")), "4", "500"]
    return {"make": make, "sh": ["/bin/sh", "-c", PIPELINE], "threads": hammer}[request.param]


def _clean(directory: Path) -> None:
    for made in MADE:
        (directory / made).unlink(missing_ok=True)


@pytest.fixture
def both(command: list[str], tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """``both("-ttt", "-T")``: the file of ``strace -f`` with these options, and that of isotrace."""

    def traces(*options: str) -> tuple[str, str]:
        _clean(tmp_path)
        asked = {"cwd": tmp_path, "env": tracer.environment(), "timeout": tracer.PATIENCE, "capture_output": True}
        line = ["strace", "-f", *options, "-o", tmp_path / "strace", "--", *command]
        subprocess.run(line, stdin=subprocess.DEVNULL, **asked)
        _clean(tmp_path)
        run = tracer.log("--format", "strace", "--string-limit", 32, *options, "--", *command, cwd=tmp_path)
        assert run.counts[2] == 0
        return (tmp_path / "strace").read_text(), run.file

    return traces


def _same(both: Callable[..., tuple[str, str]], options: tuple[str, ...], read: Callable[[str], Any]) -> None:
    """What a program makes of both is the same, but for what differs from one run to the next."""
    seen = []
    for _ in range(ATTEMPTS):
        strace, isotrace = map(read, both(*options))
        assert strace, "it reads strace's own"
        if strace == isotrace:
            return
        seen.append((strace, isotrace))
    pytest.fail("\n".join(f"strace   {one}\nisotrace {other}" for one, other in seen))


# ---- the lines themselves -----------------------------------------------------------------------------------------------

_FORMS = {
    (): "",
    ("-t",): r"\d\d:\d\d:\d\d ",
    ("-ttt", "-T"): r"\d{10}\.\d{6} ",
    ("-tt", "-r", "-T"): r"\d\d:\d\d:\d\d\.\d{6} \(\+ {5}\d\.\d{6}\) ",
    ("-r",): r" {5}\d\.\d{6} ",
}
_ENDED = r"(-1 [A-Z0-9]+ \([^()]+\)|-?\d+|0x[0-9a-f]+|\? [A-Z_]+ \([^()]+\))( \([^<>]+\))?"
_LINES = (
    rf"\w+\(.*\) += {_ENDED}(?P<spent> <\d+\.\d{{6}}>)?",
    rf"<\.\.\. \w+ resumed>.*\) += {_ENDED}(?P<spent> <\d+\.\d{{6}}>)?",
    r"(\w+\(.*|<\.\.\. \w+ resumed>( <unfinished \.\.\.>)?)\) += \?",
    r"\w+\(.* <unfinished \.\.\.>",
    r"\+\+\+ (exited with \d+|killed by SIG[A-Z]+) \+\+\+",
    r"--- SIG[A-Z]+ \{.*\} ---",
)


def _checked(line: str, time: str) -> re.Match[str]:
    for form in _LINES:
        if match := re.fullmatch(rf"\d+ {{1,5}}{time}{form}", line):
            return match
    raise AssertionError(f"not a line of strace's: {line!r}")


@pytest.mark.parametrize("command", ["sh"], indirect=True)
@pytest.mark.parametrize("options", _FORMS, ids=" ".join)
def test_lines_have_the_form_of_straces(both: Callable[..., tuple[str, str]], options: tuple[str, ...]) -> None:
    for text in both(*options):
        matches = [_checked(line, _FORMS[options]) for line in text.splitlines()]
        spent = [match["spent"] for match in matches if "spent" in match.re.groupindex]
        assert len(spent) > 30 and all(bool(one) == ("-T" in options) for one in spent)


def _halves(text: str) -> Iterator[tuple[str, str]]:
    """Thread and call of each that was broken off, after its second half has been met."""
    waiting: dict[str, str] = {}
    for line in text.splitlines():
        pid, _, rest = line.partition(" ")
        rest = rest.lstrip()
        if match := re.fullmatch(r"(\w+)\(.* <unfinished \.\.\.>", rest):
            assert pid not in waiting
            waiting[pid] = match[1]
        elif match := re.match(r"<\.\.\. (\w+) resumed>", rest):
            assert waiting.pop(pid) == match[1]
            yield pid, match[1]
        else:
            assert pid not in waiting, f"{pid} is in {waiting[pid]}: {rest}"
    assert not waiting


def test_every_call_that_is_broken_off_is_resumed(both: Callable[..., tuple[str, str]]) -> None:
    for _ in range(ATTEMPTS):
        halves = [list(_halves(text)) for text in both()]
        if all(halves):
            return
    pytest.fail("on a busy machine they may do one thing after the other, but not always")


def _plain(text: str) -> list[str]:
    """The lines without what differs from one run to the next, each as long as it was; none with pids or chance."""
    lines = [line for line in text.splitlines() if not re.match(r"\d+ +(set_tid_address|getrandom)\(", line)]
    return [re.sub(r"0x[0-9a-f]+|^\d+", lambda match: "#" * len(match[0]), line) for line in lines]


@pytest.mark.parametrize("command", [["/bin/cat", "/etc/hostname", "/no/such/file"]], ids=["cat"])
def test_the_file_of_one_process_is_the_same_to_the_last_blank(both: Callable[..., tuple[str, str]]) -> None:
    """Also where the results are, and the order."""
    _same(both, (), _plain)


WAITING = "sleep 4 & for i in 1 2; do sleep 1.5; done; wait"


def test_a_call_that_takes_long_begins_where_it_began(tmp_path: Path) -> None:
    """Its record comes much later."""
    file = tmp_path / "t"
    live = tracer.log("--format", "strace", "--record", file, "--", "/bin/sh", "-c", WAITING).file
    for text in (live, tracer.replay(file, "--format", "strace").decode()):
        broken = Counter(name for _, name in _halves(text))
        assert broken["clock_nanosleep"] and broken["wait4"] >= 2
    assert b"unfinished" not in tracer.replay(file, "--format", "json"), "they are not recorded"


# ---- other people's programs --------------------------------------------------------------------------------------------


def _tree(text: str) -> object:
    """Commands, each with those that it started."""
    tree = strace_process_tree.parse_stream(strace_process_tree.events(io.StringIO(text)))

    def of(process: object) -> tuple[str, list]:
        return process.name if process else "", sorted(map(of, tree.children[process]), key=repr)

    return of(None)[1]


def test_strace_process_tree(both: Callable[..., tuple[str, str]]) -> None:
    _same(both, ("-ttt",), _tree)


_UNCERTAIN = (
    "wait4",
    "rt_sigreturn",
    "futex",
    "restart_syscall",
    "SIGNAL",
    "munmap",
    "mprotect",
    "brk",
    "mmap",
    "madvise",
)


def _events(text: str) -> Counter[tuple[str, bool]]:
    parser = StraceParser()
    found = [event for line in text.splitlines() if (event := parser.parse_line(line))]
    assert not parser.unfinished_calls
    assert {event.event_type for event in found} <= {TraceEventType.SYSCALL, TraceEventType.SIGNAL, TraceEventType.EXIT}
    assert all(event.duration for event in found if event.name == "execve")
    return Counter((event.name, bool(event.error_msg)) for event in found if event.name not in _UNCERTAIN)


def test_stracetools(both: Callable[..., tuple[str, str]]) -> None:
    """It knows -tt."""
    _same(both, ("-tt", "-T"), _events)


def _stacks(text: str) -> Counter[str]:
    """The stacks of a flame graph, without numbers: pids, and how long."""
    collapser, out = core.Collapser(), io.StringIO()
    for call in core.StraceParser().parse(io.StringIO(text)):
        collapser.handle_call(call)
    collapser.render(out)
    plain = (re.sub(r"\d+( calls)?\)", ")", line.rpartition(" ")[0]) for line in out.getvalue().splitlines())
    return Counter(plain)


def test_flametrace(both: Callable[..., tuple[str, str]]) -> None:
    _same(both, ("-ttt", "-T"), _stacks)
