"""The supervisor of a filter whose rules ask: what waits for an answer waits here, and everybody else is served meanwhile.

Rules on paths and addresses are judged by what the caller's memory names when the call begins (``named``): another
thread can change that before the kernel looks. A call that is asked about stays a notification that nobody has answered,
which costs nothing; whatever goes wrong with one ends in its being refused.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from isotrace.enforce import Enforced, Question, Refused, Verdict
from isotrace.enforce.calls import cbpf, named, notify
from isotrace.enforce.calls.cbpf import Entry, Table
from isotrace.enforce.calls.lookup import Caller
from isotrace.enforce.calls.named import Unknown
from isotrace.enforce.calls.notify import Notification
from isotrace.enforce.calls.supervisor import Supervisor, record
from isotrace.enforce.landlock.beside import Beside
from isotrace.policy import CallRequest, Group, PathRequest, Policy, decide, names
from isotrace.policy.decide import NetRequest, Request, SocketRequest, decide_all, strictness
from isotrace.policy.model import ACCESSES, Action, CallRule, NetRule, PathRule, Rule, asks

#: The rule number of a call that only rules on paths and addresses are about.
OBJECTS = -2
_LOOKED_AT = 64  # calls that are looked at a time, whether they still wait: the kernel searches all that do


def table(enforced: Sequence[Enforced], machine: str) -> Table:
    """What the filter tells of: the calls of every rule, and of those on paths and addresses what can name one."""
    found = cbpf.table([one for one in enforced if isinstance(one.rule, CallRule)], machine)
    for one in enforced:
        if isinstance(one.rule, PathRule | NetRule) and not one.rule.allow:
            calls = named.PATH_CALLS if isinstance(one.rule, PathRule) else named.NET_CALLS
            cbpf.add(found, machine, OBJECTS, calls)
            cbpf.add(found, machine, one.number, names.closes(calls))
    return found


class Judge:
    """The rules, and what they say of a call that waits."""

    def __init__(self, enforced: Sequence[Enforced]) -> None:
        self._policy = Policy((Group("", tuple(one.rule for one in enforced)),))
        self._numbers = {id(one.rule): one.number for one in enforced}
        self._rules = {one.number: one.rule for one in enforced}
        self._nets = any(isinstance(one.rule, NetRule) for one in enforced)

    def closed(self, entry: Entry) -> Rule | None:
        """The rule that closes a way round it, which is this call; None where it is not one."""
        rule = self._rules.get(entry.rule)
        return rule if rule and not (isinstance(rule, CallRule) and entry.call in rule.calls) else None

    def number(self, rule: Rule) -> int:
        """The rule's number in the policy."""
        return self._numbers[id(rule)]

    def decide(self, call: Notification, entry: Entry, refused: Refused) -> tuple[Rule | None, Refused, str, Objects]:
        """The rule that decides, or None; the call with the object that it decides by, the access to it, and others."""
        caller = Caller(call.pid, refused.pid)
        every = named.requests(caller, entry.call, entry.abi, refused.args)
        objects = every if self._nets else [one for one in every if not _of_nets(one)]
        asked: list[Request] = [CallRequest(entry.call, entry.call != "sendto" or any(refused.args[4:5]))]
        known = [one for one in objects if not isinstance(one, Unknown)]
        rules = [decide_all(self._policy, asked + known).rule]
        if any(isinstance(one, Unknown) for one in objects):  # then an exception for the others is none for the call
            rules += [decide_all(self._policy, asked).rule]
        rules += [self._strictest(one) for one in objects if isinstance(one, Unknown)]
        rule = min((one for one in rules if one), key=strictness, default=None)
        shown, access = self._shown(rule, every, refused)
        return rule, shown, access, self._others(objects, shown.what)

    def _others(self, objects: Sequence[Request | Unknown], shown: str) -> Objects:
        """What is asked about beside what is shown: each with its access, "" for what cannot be told."""
        found: dict[tuple[str, str], None] = {}
        for one in objects:
            if isinstance(one, Unknown):
                found["", "".join(sorted(one.access))] = None
            elif decide(self._policy, one).asked and named.shown(one) != shown:
                letters = one.access if isinstance(one, PathRequest) else ()
                found[named.shown(one), "".join(letter for letter in ACCESSES if letter in letters)] = None
        return tuple(found) if shown or len(found) > 1 else ()

    def _strictest(self, unknown: Unknown) -> Rule | None:
        """Of the rules that what cannot be told may meet."""
        rules = [
            rule
            for rule in self._policy.rules
            if not rule.allow
            and (
                isinstance(rule, PathRule) and rule.access & unknown.access
                if unknown.access
                else isinstance(rule, NetRule) and (rule.protocol == "unix" or not unknown.unix)
            )
        ]
        return min(rules, key=strictness, default=None)

    def _shown(self, rule: Rule | None, objects: Sequence[Request | Unknown], refused: Refused) -> tuple[Refused, str]:
        """With the object that the rule is about, else the first that the call names; and the access to it.

        A question is about none that only the caller's memory says.
        """
        known = [one for one in objects if isinstance(one, PathRequest | NetRequest)]
        about = [one for one in known if decide(self._policy, one).rule is rule] or known
        otherwise = "" if rule and asks(rule) else refused.what
        what = next(filter(None, map(named.shown, about)), otherwise)
        paths = [one.access for one in known if isinstance(one, PathRequest) and one.path == what]
        access = "".join(letter for letter in ACCESSES if any(letter in one for one in paths))
        return replace(refused, what=what, rule=refused.rule if rule is None else self.number(rule)), access


#: Paths and addresses, each with the letters of what is asked of it.
Objects = tuple[tuple[str, str], ...]


def _of_nets(one: Request | Unknown) -> bool:
    return not one.access if isinstance(one, Unknown) else isinstance(one, NetRequest | SocketRequest)


class AskingSupervisor(Supervisor):
    """As ``Supervisor``, and calls wait in it; ``asked`` is set with every question. See ``enforce.Asking``."""

    def __init__(
        self,
        pid: int,
        descriptor: int,
        taken: int,
        table: Table,
        actions: Mapping[int, Action],
        own_exec: int,
        enforced: Sequence[Enforced],
        beside: Mapping[int, Beside] | None = None,
    ) -> None:
        self._judgement = Judge(enforced)
        self._all_actions = dict(actions)
        self._waiting: dict[int, tuple[Notification, Refused]] = {}
        self._new: deque[Question] = deque()
        self._order: deque[int] = deque()
        self.asked = threading.Event()
        self._guard = threading.Lock()  # of the listener, and of what waits
        self._listening = -1
        super().__init__(pid, descriptor, taken, table, {**actions, OBJECTS: Action()}, own_exec, beside)

    def questions(self) -> list[Question]:
        """Those that have come since the last look."""
        return [self._new.popleft() for _ in range(len(self._new))]

    def gone_by_themselves(self) -> list[int]:
        """Those of some that wait that do not any more; all come in turn."""
        found = []
        with self._guard:
            for _ in range(min(_LOOKED_AT, len(self._order))):
                number = self._order.popleft()
                if number not in self._waiting:
                    continue
                if self._listening >= 0 and notify.valid(self._listening, number):
                    self._order.append(number)
                else:
                    del self._waiting[number]
                    found.append(number)
        return found

    def answer(self, number: int, verdict: Verdict) -> bool:
        """Whether it still waited."""
        with self._guard:
            known = self._waiting.pop(number, None)
            if known is None or self._listening < 0:
                return False
            action = Action("kill") if verdict == "kill" else Action(errno=self._all_actions[known[1].rule].errno)
            return self._carry_out(
                self._listening, known[0], known[1], Action("audit") if verdict == "allow" else action
            )

    def _forget(self) -> None:
        with self._guard:
            self._listening = -1

    def _refuse(self, listener: int, call: Notification, entry: Entry) -> None:
        """Judge it. Whatever goes wrong, it is answered, or waits where it will be."""
        self._listening = listener
        try:
            self._judge_objects(listener, call, entry)
        except Exception:
            notify.answer(listener, call.id, 1)

    def _judge_objects(self, listener: int, call: Notification, entry: Entry) -> None:
        refused = record(call, entry)
        if rule := self._judgement.closed(entry):
            refused = replace(refused, rule=self._judgement.number(rule))
            self._settle(listener, call, refused, _by_default(rule.action))
            return
        rule, refused, access, more = self._judgement.decide(call, entry, refused)
        if rule is None or rule.allow:
            self._let_go(listener, call)
        elif rule.action.kind == "ask":
            self._ask(call, refused, access, more)
        else:
            self._settle(listener, call, refused, rule.action)

    def _ask(self, call: Notification, refused: Refused, access: str, more: Objects) -> None:
        question = Question.of(refused, call.id, access, more)
        with self._guard:
            self.hits[refused.rule] += 1
            self._waiting[call.id] = (call, refused)
            self._order.append(call.id)
            self._new.append(question)
        self.asked.set()


def _by_default(action: Action) -> Action:
    """What becomes of a call that cannot wait."""
    if action.kind != "ask":
        return action
    return Action("kill") if action.otherwise == "kill" else Action(errno=action.errno)
