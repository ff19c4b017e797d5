"""Runs of isotrace ask, and of isotrace answer, that live tests start and look at."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

ASK = (sys.executable, "-m", "isotrace", "ask")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}


def python(code):
    return sys.executable, "-c", code


class Running:
    """isotrace ask that runs in the background, with a program that answers once ``answer`` has been called."""

    def __init__(self, tmp_path, *words, timeout="60s"):
        self._answer, self.asked = tmp_path / "answer", tmp_path / "asked"
        script = f"cat >> {self.asked}; while ! test -s {self._answer}; do sleep 0.05; done; cat {self._answer}"
        command = (*ASK, "--timeout", timeout, "--answer-with", script, *map(str, words))
        self.process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=ENVIRONMENT, cwd=tmp_path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.communicate()

    def question(self):
        wait_for(lambda: self.asked.exists() and self.asked.read_text().endswith("\n"))
        return json.loads(self.asked.read_text().splitlines()[-1])

    def answer(self, text):
        self._answer.write_text(text + "\n")

    def end(self):
        out, err = self.process.communicate(timeout=300)
        return out, err


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@contextlib.contextmanager
def background(*words, cwd, **environment):
    """isotrace ask without a terminal; it is ended whatever becomes of the test."""
    command = list(map(str, (*ASK, "--timeout", "10m", *words)))
    more = {
        "stdout": -1,
        "stderr": -1,
        "text": True,
        "env": ENVIRONMENT | environment,
        "cwd": cwd,
        "start_new_session": True,
    }
    with subprocess.Popen(command, **more) as run:
        try:
            yield run
        finally:
            with contextlib.suppress(ProcessLookupError):
                run.kill()


def answering(path, *words, user=()):
    command = (*user, sys.executable, "-m", "isotrace", "answer", path, *words)
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, env=ENVIRONMENT)


def shown_at(path):
    return json.loads(answering(path, "list", "--format", "json").stdout or "{}").get("questions", [])


class Person:
    """Somebody at a terminal, which isotrace and the command have: reads the screen, types lines."""

    def __init__(self, tmp_path, *words):
        self.pid, self.tty = pty.fork()
        if self.pid == 0:
            os.chdir(tmp_path)
            os.execvpe(ASK[0], [*ASK, *map(str, words)], ENVIRONMENT)
        self.seen = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.hang_up()

    def hang_up(self):
        if self.tty >= 0:
            os.close(self.tty)
        self.tty = -1

    def read(self, pattern):
        """What matches, once it is on the screen; what was before it is forgotten."""
        deadline = time.monotonic() + 120
        while not (match := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, self.seen
            if select.select([self.tty], [], [], 0.2)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.tty, 65536).decode("utf-8", "replace")
        self.seen = self.seen[match.end() :]
        return match

    def type(self, line):
        os.write(self.tty, line.encode() + b"\n")

    def status(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
