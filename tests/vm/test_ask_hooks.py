"""Rules that ask at the security hooks: a call waits unseen for its verdict, and happens once, or not at all."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest

from isotrace.enforce.throttle import scheduling
from isotrace.policy import paths
from isotrace.policy.model import Action
from isotrace.trace.target import Target
from tests.vm.enforced import DENIED, Worker, enforced, need_for

ASK = Action("ask", DENIED.errno)
HOOKS = ("lsm", "fmod_ret")
PATIENCE = 60  # seconds, under emulation


@pytest.fixture
def worker():
    one = Worker()
    yield one
    one.end()


def asking(text, allow=False):
    return paths.parse(text, allow=allow, action=ASK)


def until(found):
    """What it returns once that is true."""
    end = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.01)
    return result


class Conversation:
    """The worker's call, made in a thread of its own, and the questions about it."""

    def __init__(self, enforcer, worker):
        self.enforcer, self.worker, self.asked, self.gone = enforcer, worker, [], []
        self.result = None

    def begin(self, expression):
        def run():
            self.result = self.worker.ask(expression)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def look(self):
        self.asked += self.enforcer.questions()
        self.gone += self.enforcer.gone()
        return self.asked

    def question(self, count=1):
        """The newest of so many."""
        return until(lambda: len(self.look()) >= count and self.asked[-1])

    def end(self):
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return self.result

    def ask(self, expression, verdict):
        """The worker's answer, after one question that is answered so."""
        before = len(self.asked)
        self.begin(expression)
        question = self.question(before + 1)
        assert self.enforcer.answer(question.id, verdict)
        result = self.end()
        assert len(self.look()) == before + 1 and not self.gone
        return question, result


@contextmanager
def conversation(mechanism, rules, worker):
    need_for(mechanism)
    with enforced(mechanism, rules, Target(pid=worker.pid)) as enforcer:
        yield Conversation(enforcer, worker)


@pytest.mark.parametrize("mechanism", HOOKS)
def test_an_open_waits_and_is_allowed_or_denied_each_time_anew(mechanism, worker, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    had = scheduling(worker.pid)
    opening = f"os.close(os.open('{secret}', 0))"
    with conversation(mechanism, [asking(f"r:{tmp_path}/**")], worker) as talk:
        question, result = talk.ask(opening, "allow")
        assert result == "ok"
        assert (question.pid, question.tid, question.call, question.what) == (
            worker.pid,
            worker.pid,
            "openat",
            str(secret),
        )
        assert (question.rule, question.access) == (0, "r")
        assert talk.ask(opening, "deny")[1] == "EXDEV"
        assert talk.ask(opening, "allow")[1] == "ok"
        assert [one.what for batch in talk.enforcer.batches() for one in batch] == [str(secret)]
        assert talk.enforcer.counts().hits == {0: 1}
        assert scheduling(worker.pid) == had
        assert worker.ask("os.close(os.open('/etc/passwd', 0))") == "ok"
        assert talk.ask(opening, "kill")[1] == ""
