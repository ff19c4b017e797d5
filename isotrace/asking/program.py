"""Asking a program (``--answer-with``): the question is JSON on its standard input, its answer is on its output.

It is run once a question, a few at a time. One that hangs is killed when the question gets the default; one that prints
what is no answer, or fails, has not answered. Whatever ends isotrace ends it and all of its process group.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import orjson

from isotrace.asking import words
from isotrace.asking.background import Background
from isotrace.asking.desk import Case, Scope
from isotrace.asking.lasting import Written
from isotrace.asking.replies import Replies
from isotrace.enforce import Verdict
from isotrace.errors import UsageError

_AT_ONCE = 8
_OUTPUT_MAX = 65536
_TICK, _TO_END = 0.2, 1.0  # seconds
#: Runs the command of its first argument. Nobody writes to descriptor 3: reading there ends when isotrace does.
_RUN = '(read nothing; kill -s KILL -- -$$) <&3 >/dev/null 2>&1 & exec sh -c "$1" 3<&-'


class Program(Background):
    """Asks ``command``, which a shell runs."""

    def __init__(self, command: str, replies: Replies) -> None:
        self._command, self._replies = command, replies
        self._busy: dict[int, threading.Thread] = {}
        self._life, self._lives = os.pipe()
        super().__init__("answer-with", self._run)

    def end(self) -> None:
        """Ask no more, and kill those that have not answered."""
        super().end()
        for thread in list(self._busy.values()):
            thread.join()
        for descriptor in (self._life, self._lives):
            os.close(descriptor)

    def _run(self) -> None:
        desk = self._replies.desk
        while not self.over.is_set():
            desk.news.wait(_TICK)
            desk.news.clear()
            self._busy = {number: thread for number, thread in self._busy.items() if thread.is_alive()}
            for case in desk.cases():
                if case.number not in self._busy and len(self._busy) < _AT_ONCE:
                    thread = threading.Thread(target=self._ask, args=(case,), daemon=True)
                    self._busy[case.number] = thread
                    thread.start()

    def _ask(self, case: Case) -> None:
        """Whatever happens, the question is answered, or gets the default."""
        try:
            why = self._asked(case)
        except Exception as error:
            why = repr(error)
        if why and not self.over.is_set():
            self._replies.unanswered(case, f"--answer-with: {why}: not answered")
        self._replies.desk.news.set()

    def _asked(self, case: Case) -> str:
        """Why there is no answer; "" where there is one, or the question is gone."""
        try:
            output = self._output(orjson.dumps(self._replies.as_object(case)) + b"\n", case)
            if output is None:
                return ""  # the question was gone, or got the default meanwhile
            verdict, scope = answer(output, partial(self._replies.shown_choices, case))
            self._replies.give(case, verdict, scope, "program", "--answer-with")
        except UsageError as error:
            return error.message
        return ""

    def _output(self, given: bytes, case: Case) -> bytes | None:
        """What the program prints; None where nobody needs it any more."""
        read, out = os.pipe()
        inp, write = os.pipe()
        os.set_blocking(write, False)
        actions = [(os.POSIX_SPAWN_DUP2, inp, 0), (os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, self._life, 3)]
        arguments = ["sh", "-c", _RUN, "sh", self._command]
        pid = os.posix_spawn("/bin/sh", arguments, os.environ, file_actions=actions, setpgroup=0, setsigmask=[])
        os.close(inp)
        os.close(out)
        ended = False
        try:
            found = self._talk(read, write, given, case)
            if found is not None:
                ended, status = _ended(pid)
                if status:
                    raise UsageError(f"it ended with {'signal ' if status < 0 else 'status '}{abs(status)}", words.HOW)
            return found
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            if not ended:
                os.waitpid(pid, 0)

    def _talk(self, read: int, write: int, given: bytes, case: Case) -> bytes | None:
        found, writing = b"", True
        try:
            while len(found) < _OUTPUT_MAX:
                if self.over.is_set() or not self._waits(case):
                    return None
                ready, writable, _ = select.select([read], [write] if writing else [], [], _TICK)
                if writable:
                    given = given[_written(write, given) :]
                    if not given:
                        os.close(write)
                        writing = False
                if ready:
                    data = os.read(read, _OUTPUT_MAX)
                    if not data:
                        return found
                    found += data
            raise UsageError("it printed too much", words.HOW)
        finally:
            os.close(read)
            if writing:
                os.close(write)

    def _waits(self, case: Case) -> bool:
        return any(one.number == case.number for one in self._replies.desk.cases())


def _ended(pid: int) -> tuple[bool, int]:
    """Whether the process, whose output is at its end, has ended within a second, and its exit status (a signal: < 0)."""
    until = time.monotonic() + _TO_END
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return True, os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return False, 0
        time.sleep(0.005)


def _written(write: int, data: bytes) -> int:
    try:
        return os.write(write, data)
    except BlockingIOError:
        return 0
    except BrokenPipeError:  # it does not care what is asked
        return len(data)


def answer(output: bytes, choices: Callable[[Verdict], Sequence[Written]]) -> tuple[Verdict, Scope]:
    """What a program has printed: ``allow``, ``deny process``, ``{"answer": "allow", "scope": "10m"}``.

    Raises ``UsageError`` for what is no answer.
    """
    text = output.decode("utf-8", "replace").strip()
    if text.startswith("{"):
        try:
            said = orjson.loads(output)
        except orjson.JSONDecodeError:
            raise UsageError("its output is not JSON", words.HOW) from None
        parts = [
            said.get("answer"),
            *([said["scope"]] if "scope" in said else []),
            *([said["rule"]] if "rule" in said else []),
        ]
        if not all(isinstance(part, str) for part in parts) or set(said) - {"answer", "scope", "rule"}:
            raise UsageError('its output is not like {"answer": "allow", "scope": "process"}', words.HOW)
    else:
        parts = text.split(None, 2)
    if not parts:
        raise UsageError("it printed nothing", words.HOW)
    verdict = words.verdict(parts[0])
    return verdict, words.scope(parts[1:], choices(verdict))
