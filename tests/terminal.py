"""A program in a terminal of its own, with keys to press and a screen to read: tmux."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 400 if "ISOTRACE_VM_KERNEL" in os.environ else 120  # seconds; under emulation everything takes long


def _tell(step: str) -> None:
    """Tell the bench of guests that things go on, if slowly."""
    if report := os.environ.get("ISOTRACE_VM_REPORT"):
        os.write(int(report), json.dumps({"step": step}).encode() + b"\n")


class Terminal:
    """A tmux pane of its own server."""

    def __init__(self, path: Path) -> None:
        self._tmux = ["tmux", "-u", "-S", str(path), "-f", "/dev/null"]
        self._mark = path.with_suffix(".pid")

    def start(self, command: str, width: int = 80, height: int = 24, verb: str = "top", **environment: str) -> None:
        shell = (
            f"export COLUMNS=80 LINES=24; echo $$ > {self._mark}; exec {sys.executable} -m isotrace {verb} {command}"
        )
        after = f"(exit_status=0; sh -c '{shell}' || exit_status=$?; echo STATUS=$exit_status; stty -a; sleep 1000)"
        self.run(after, width, height, **environment)

    def run(self, script: str, width: int, height: int, **environment: str) -> None:
        """Have sh run the script, in a pane of that size."""
        settings = [f"-e{name}={value}" for name, value in ({"PYTHONPATH": str(ROOT)} | environment).items()]
        size = ["-x", str(width), "-y", str(height)]
        subprocess.run([*self._tmux, "new-session", "-d", *settings, *size, script], check=True, cwd=ROOT)

    @property
    def pid(self) -> int:
        return int(self._mark.read_text())

    def screen(self, colours: bool = False) -> str:
        """What is on it, with ``colours`` as escapes."""
        words = ["capture-pane", "-p", *(["-e"] if colours else [])]
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=True)
        return done.stdout

    def all(self) -> str:
        """The screen, and what has gone off its upper end."""
        done = subprocess.run([*self._tmux, "capture-pane", "-p", "-S-"], capture_output=True, text=True, check=True)
        return done.stdout

    def keys(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    def resize(self, width: int, height: int) -> None:
        subprocess.run([*self._tmux, "resize-window", "-x", str(width), "-y", str(height)], check=True)

    def ask(self, what: str) -> str:
        done = subprocess.run([*self._tmux, "display", "-p", what], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def wait(self, pattern: str, seconds: float = PATIENCE) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if re.search(pattern, screen := self.screen(), re.MULTILINE):
                _tell(f"the screen shows {pattern!r}")
                return screen
            time.sleep(0.1)
        raise AssertionError(f"{pattern!r} did not appear:\n{self.screen()}")

    def gone(self, pattern: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while re.search(pattern, self.screen(), re.MULTILINE):
            assert time.monotonic() < deadline, f"{pattern!r} did not go away:\n{self.screen()}"
            time.sleep(0.1)

    def hang_up(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=True)

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.pid, signal.SIGKILL)
        subprocess.run([*self._tmux, "kill-server"], capture_output=True)
