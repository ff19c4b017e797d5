"""What tests of questions share: an enforcer that is none, questions, and a desk with a clock of the test's."""

from __future__ import annotations

from dataclasses import replace

from isotrace.asking.desk import Desk, Reply, Scope
from isotrace.asking.file import AnswersFile
from isotrace.asking.replies import Replies
from isotrace.asking.who import Who
from isotrace.enforce import Enforced, Guarantees, Question
from isotrace.policy import Action, Group, Policy, names, nets, paths
from isotrace.run.asking import Here

ASK = Action("ask")
RULES = (
    paths.parse("/**", allow=False, action=ASK),
    nets.parse("any:", allow=False, action=ASK),
    names.parse("kill,connect", action=ASK),
)
PATHS, NETS, CALLS = range(3)
CAT = "/usr/bin/cat"


class FakeAsking:
    """Calls wait in it until they are told something; ``said`` is what each was told."""

    def __init__(self):
        self.new, self.waiting, self.said, self.left = [], {}, {}, []

    def ask(self, *questions):
        for one in questions:
            self.waiting[one.id] = one
            self.new.append(one)

    def kill(self, number):
        del self.waiting[number]
        self.left.append(number)

    def wait_for_questions(self, seconds):
        del seconds

    def questions(self):
        new, self.new = self.new, []
        return new

    def gone(self):
        left, self.left = self.left, []
        return left

    def answer(self, id, verdict):
        if self.waiting.pop(id, None) is None:
            return False
        self.said[id] = verdict
        return True


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def question(number, what="/etc/passwd", access="r", call="openat", rule=None, pid=100, args=(1, 2, 3)):
    if rule is None:
        rule = PATHS if access else NETS if what else CALLS
    return Question(number, 0, pid, pid, b"cat", call, "x86_64", args, rule, what, access)


def policy_of(rules):
    return Policy((Group("", tuple(rules)),))


class Office:
    """A desk with a fake enforcer; ``programs`` says what processes run, by pid."""

    def __init__(self, rules=RULES, limit=4096, seconds=60.0):
        self.asking, self.clock, self.programs = FakeAsking(), Clock(), {}
        guarantees = Guarantees(False, "closed", True, waits="thread", orphaned="ENOSYS")
        self.rules = {number: Enforced(number, rule, "fake", guarantees) for number, rule in enumerate(rules)}
        self.desk = Desk({"fake": self.asking}, self.rules, policy_of(rules), seconds, self.clock, self.who, limit)

    def who(self, pid):
        return Who(pid, 1, self.programs.get(pid, CAT))

    def ask(self, *questions):
        """Questions come; returns the cases that are open then."""
        self.asking.ask(*questions)
        self.desk.turn()
        return self.desk.cases()

    def wait(self, seconds=0.0):
        """Time passes, and the desk has looked at everything."""
        self.clock.now += seconds
        for _ in range(8):
            self.desk.turn()

    def reply(self, case, verdict, scope="once", by="person", who="me", **more):
        return self.desk.reply(Reply(case, verdict, Scope(scope, **more), by, who))

    def ends(self):
        """(id by its place, verdict, by) of the answers so far."""
        return [(one.answer.verdict, one.answer.by) for one in self.desk.drain()]


class Fake:
    """Questions of a desk; keeps the answers that it was given."""

    def __init__(self, tmp_path, *questions):
        self.office, self.said = Office(), []
        self.office.clock.now = 1e9
        self.office.ask(*questions)
        self.replies = Replies(self.office.desk, AnswersFile(str(tmp_path / "p.toml")), self.said.append)
        self.here, self.given, self.failure = Here(self.replies), [], None
        self.lines = []

    def listed(self):
        if self.failure:
            raise self.failure
        return self.here.listed()

    def news(self):
        lines, self.lines = self.lines, []
        return lines

    def answer(self, name, words):
        self.given.append((name, words))
        return self.here.answer(name, words)


async def until(pilot, condition):
    for _ in range(500):
        await pilot.pause(0.02)
        if condition():
            return
    raise AssertionError("it did not happen")


def killing(rule):
    """The rule, killing whom nobody answers."""
    return replace(rule, action=replace(rule.action, otherwise="kill"))
