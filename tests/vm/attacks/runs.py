"""Running rows of the table: some under one ``isotrace block``, or without one, and what came of each."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.live.tracer import PATIENCE, environment, until
from tests.vm.attacks import Row, programs
from tests.vm.plugin import progress

TARGET = Path(__file__).with_name("target.py")
NOBODY = 65534
STARTED = "enforcing from now on"
TURNED_DOWN = "nothing was started, nothing is denied"
#: isotrace by its own command line, with one mechanism to choose from.
ONLY = (
    "import sys; from isotrace.enforce import registry; registry.BACKENDS['auto'] = (sys.argv.pop(1),); "
    "from isotrace.__main__ import main; main()"
)
_STATUS = {0: "through", 1: "refused", 77: "untried"}


@dataclass(frozen=True)
class Outcome:
    """What came of an attack: through, refused, untried or broken; what it said, and what block said before it."""

    what: str
    text: str
    said: str = ""


class Place:
    """The directory of one row, in a run."""

    def __init__(self, row: Row, here: Path, port: int) -> None:
        self.row, self.here, self._port = row, here, port
        self.here.mkdir()
        self.here.chmod(0o777)
        self.output = here.with_suffix(".output")
        self.broken = ""

    def ready(self, text: str) -> str:
        """With the names in place."""
        names = {"HERE": self.here, "BIN": programs.directory(), "PORT": self._port}
        pid = self.here / "pid"
        names |= {"PID": pid.read_text().strip()} if pid.exists() else {}
        for name in programs.names():
            if f"BIN/{name}" in text:
                programs.built(name)
        for name, value in names.items():
            text = re.sub(rf"\b{name}\b", str(value), text)
        return text

    def script(self, text: str) -> None:
        """Run one of the row's scripts as root; where it fails, the row is broken."""
        if not text or self.broken:
            return
        words = ["sh", "-ec", self.ready(text)]
        try:
            done = subprocess.run(words, cwd=self.here, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.broken = f"a script of the row did not end: {text}"
            return
        self.broken = f"a script of the row failed: {done.stderr}" if done.returncode else ""

    @property
    def rules(self) -> list[str]:
        """The options of block."""
        return [self.ready(word) for word in self.row.rules]

    def argv(self, waits: bool) -> list[str]:
        """The attack's command line; ``waits``: it begins when a line arrives."""
        if isinstance(self.row.attack, str):
            head = "read go; unset ATTACK_WAITS; " if waits else ""
            return [*self._rights(), "sh", "-c", head + self.ready(self.row.attack)]
        name, *words = self.row.attack
        return [*self._rights(), str(programs.built(name)), *map(self.ready, words)]

    def _rights(self) -> list[str]:
        less = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"]
        return less if self.row.user == "unadmin" else []

    @property
    def user(self) -> int:
        """Who attacks; 0 is whoever runs the test, too, where that is not root."""
        return NOBODY if self.row.user == "nobody" and os.geteuid() == 0 else 0

    def outcome(self, status: int | None, said: str = "") -> Outcome:
        """By the attack's status, or by what it wrote; None: it never ended."""
        if self.broken:
            return Outcome("broken", self.broken, said)
        answer = self.here / "answer"
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        text += answer.read_text() if answer.exists() else ""
        if self.row.answers:
            what = "through" if "THROUGH" in text else "refused" if "refused to the end" in text else "broken"
        else:
            what = _STATUS.get(-1 if status is None else status, "broken")
        return Outcome(what, f"status {status}\n{text}", said)


@contextmanager
def places(rows: Sequence[Row]) -> Iterator[list[Place]]:
    """A directory for each row, set up; what is mounted below them is gone afterwards."""
    above = Path(tempfile.mkdtemp(prefix="isotrace-attack-"))
    above.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        try:
            found = [Place(row, above / f"{at:02}", listener.getsockname()[1]) for at, row in enumerate(rows)]
            for place in found:
                place.script(place.row.setup)
            yield found
        finally:
            for point in reversed(_mounts_below(above)):
                subprocess.run(["umount", "-l", point], check=False)
            shutil.rmtree(above, ignore_errors=True)


def _mounts_below(above: Path) -> list[str]:
    points = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().split("\n") if line]
    return [point for point in points if point.startswith(f"{above}/")]


class Target:
    """The process that starts the attacks."""

    def __init__(self, found: Sequence[Place]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-I", TARGET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        assert self._ask(json.dumps([self._asked(one) for one in found])) == "started"
        for one in found:
            if one.row.ready and not one.broken:
                until(lambda one=one: "ready" in one.output.read_text(), f"{one.row.name} is ready")

    @staticmethod
    def _asked(one: Place) -> dict[str, object]:
        """What target.py is to start; what prepares itself reads the line when it is ready."""
        return {
            "argv": one.argv(True), "user": one.user, "cwd": str(one.here), "output": str(one.output),
            "waits": not one.row.ready,
        }  # fmt: skip

    def _ask(self, line: str) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def let_go(self, index: int) -> int | None:
        """The exit status of an attack, None where it did not end."""
        answer = self._ask(f"{index} {PATIENCE}")
        return None if answer in ("late", "") else int(answer)

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def target(found: Sequence[Place]) -> Iterator[Target]:
    """The target, for as long as the block."""
    one = Target(found)
    try:
        yield one
    finally:
        one.end()


class Block:
    """A running ``isotrace block``; ``said`` is what it wrote to standard error."""

    def __init__(self, mechanism: str, words: Sequence[str], log: Path, **options: object) -> None:
        self._log = log
        lenient = ["--best-effort"] if mechanism in ("fmod_ret_call", "override") else []
        argv = [sys.executable, "-c", ONLY, mechanism, "block", *lenient, *words]
        if options.pop("terminal", False):
            argv = ["setsid", "--ctty", *argv]
        with log.open("ab") as stream:
            given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": stream, "env": environment()}
            self.process = subprocess.Popen(argv, **{**given, **options})  # type: ignore[call-overload]

    @property
    def said(self) -> str:
        """All so far."""
        return self._log.read_text(errors="replace")

    def started(self) -> None:
        """Wait until it refuses. Raises ``AssertionError`` where it does not."""
        deadline = time.monotonic() + 3 * PATIENCE
        while STARTED not in self.said and self.process.poll() is None and time.monotonic() < deadline:
            progress("attack: block loads its programs")
            time.sleep(0.5)
        assert STARTED in self.said, f"block did not start:\n{self.said}"

    def end(self, number: int = signal.SIGINT) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def control(rows: Sequence[Row]) -> dict[str, Outcome]:
    """What comes of the attacks where nothing is refused."""
    with places(rows) as found, target(found) as attacker:
        return dict(_attack(attacker, found, None))


def together(mechanism: str, rows: Sequence[Row]) -> dict[str, Outcome]:
    """What comes of rows that share a block; where that does not start all are broken."""
    try:
        return _together(mechanism, rows)
    except AssertionError as error:
        return {row.name: Outcome("broken", str(error)) for row in rows}


def _together(mechanism: str, rows: Sequence[Row]) -> dict[str, Outcome]:
    if rows[0].how == "command" or mechanism == "seccomp":
        return {row.name: as_command(mechanism, row) for row in rows}
    with places(rows) as found, target(found) as attacker:
        words = ["--tree", str(attacker.pid)] if rows[0].how == "tree" else []
        words += _rules(found)
        with _output(found[0]) as (log, options):
            progress(f"attack: {mechanism} starts for {len(rows)}")
            block = Block(mechanism, words, log, **options)
            try:
                block.started()
                return dict(_attack(attacker, found, block))
            finally:
                block.end()


def _rules(found: Sequence[Place]) -> list[str]:
    """Every option once, in pairs where an option has a value."""
    pairs: dict[tuple[str, ...], None] = {}
    for place in found:
        words = place.rules
        while words:
            count = 2 if len(words) > 1 and not words[1].startswith("--") else 1
            pairs[tuple(words[:count])] = None
            words = words[count:]
    return [word for pair in pairs for word in pair]


@contextmanager
def _output(place: Place) -> Iterator[tuple[Path, dict[str, object]]]:
    """Where block writes."""
    if not place.row.output:
        yield place.here.parent / "block", {}
        return
    log = Path(place.ready(place.row.output))
    with log.open("ab") as stream:
        yield log, {"stdout": stream}


def _attack(attacker: Target, found: Sequence[Place], block: Block | None) -> Iterator[tuple[str, Outcome]]:
    said = block.said if block else ""
    for place in found:
        place.script(place.row.meanwhile)
    for index, place in enumerate(found):
        progress(f"attack: {place.row.name}")
        status = attacker.let_go(index)
        if place.row.answers and not place.broken:
            until(lambda place=place: _answered(place), f"{place.row.name}: an answer")
        outcome = place.outcome(status, said)
        if block and block.process.poll() is not None and outcome.what != "through":
            outcome = Outcome("broken", f"isotrace ended meanwhile\n{block.said}\n{outcome.text}", said)
        yield place.row.name, outcome


def as_command(mechanism: str, row: Row) -> Outcome:
    """The attack is the command of a block of its own."""
    with places([row]) as (place,), ExitStack() as stack:
        log, options = stack.enter_context(_output(place))
        options = {**options, **_standing(place, mechanism)}
        argv = place.argv(False)
        if row.terminal:
            options["stdin"] = stack.enter_context(_terminal())
        options.setdefault("stdout", stack.enter_context(place.output.open("wb")))
        progress(f"attack: {mechanism}: {row.name}")
        block = Block(mechanism, [*place.rules, "--", *argv], log, terminal=row.terminal, **options)
        try:
            status = _ended(place, block)
            said = block.said
        finally:
            block.end(signal.SIGKILL)
        return place.outcome(status, said)


def _standing(place: Place, mechanism: str) -> dict[str, object]:
    """Who isotrace is: of the attacker's rights where the mechanism needs no more, else root who drops them."""
    if place.user == 0:
        return {}
    if mechanism == "seccomp" and os.geteuid() == 0:
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    return {"env": {**environment(), "SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}} if os.geteuid() == 0 else {}


def _ended(place: Place, block: Block) -> int | None:
    """Wait for what comes of it; the command's status."""
    if place.row.answers:
        until(lambda: _answered(place) or TURNED_DOWN in block.said, f"{place.row.name}: an answer\n{block.said}")
        return None
    try:
        return block.process.wait(3 * PATIENCE)
    except subprocess.TimeoutExpired:
        return None


def _answered(place: Place) -> bool:
    answer = place.here / "answer"
    return answer.exists() and any(word in answer.read_text() for word in ("THROUGH", "to the end"))


@contextmanager
def _terminal() -> Iterator[int]:
    """The far end of a terminal."""
    near, far = pty.openpty()
    try:
        yield far
    finally:
        os.close(near)
        os.close(far)
