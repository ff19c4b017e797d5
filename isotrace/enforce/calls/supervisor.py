"""The thread that answers for a seccomp filter: it takes the listener from the command's process and serves it."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from isotrace.catalog import multiplexed
from isotrace.enforce import Refused
from isotrace.enforce.calls import cbpf, notify, peek
from isotrace.enforce.calls.cbpf import Entry, is_multiplexed
from isotrace.enforce.calls.notify import Notification
from isotrace.enforce.landlock import beside as judging
from isotrace.enforce.landlock.beside import Beside
from isotrace.kernel import procfs
from isotrace.policy.model import Action

_RECORDS = 65536  # records that wait to be read before further ones are given up
_TICK = 200  # milliseconds between two looks whether to stop
_EPERM = 1


class Supervisor:
    """``news`` is set with every record, ``gone`` when no process is left under the filter; ``trouble`` says what failed.

    ``descriptor`` is the pipe on which the command's process tells the number that its listener will have, ``taken`` the
    one on which it hears that the listener is here, or will never be;
    ``own_exec`` the address of the file name of its first execve. Once ``lifted`` is set every call goes on.
    ``beside``: rules by their numbers that are judged of what the others let go on.
    """

    def __init__(
        self,
        pid: int,
        descriptor: int,
        taken: int,
        table: cbpf.Table,
        actions: Mapping[int, Action],
        own_exec: int,
        beside: Mapping[int, Beside] | None = None,
    ) -> None:
        self.news, self.gone = threading.Event(), threading.Event()
        self.hits: Counter[int] = Counter()
        self.lost = 0
        self.lifted = False
        self.trouble = ""
        self._pid, self._table, self._actions = pid, table, actions
        self._own_exec, self._starting = own_exec, True
        self._beside = dict(beside or {})
        self._judged_beside = judging.table(self._beside, os.uname().machine)
        self._records: deque[Refused] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(descriptor, taken), daemon=True)
        self._thread.start()

    def drain(self) -> list[Refused]:
        """The records that wait, and no others."""
        return [self._records.popleft() for _ in range(len(self._records))]

    def close(self) -> None:
        """Stop answering: the kernel does, with ENOSYS."""
        self._stop.set()
        self._thread.join(2 * _TICK / 1000)

    def _run(self, descriptor: int, taken: int) -> None:
        listener = None
        try:
            listener = self._take(descriptor, taken)
            if listener is not None:
                self._serve(listener)
        except OSError as error:
            self.trouble = error.strerror or str(error)
        except BaseException as error:  # whoever may limit this process's memory can cause that
            self.trouble = repr(error)
        finally:
            if listener is not None:
                self._forget()
                os.close(listener)
            self.gone.set()
            self.news.set()

    def _forget(self) -> None:
        """The listener is closed next."""

    def _take(self, descriptor: int, taken: int) -> int | None:
        with os.fdopen(taken, "wb", buffering=0) as tell, os.fdopen(descriptor, "rb") as told:
            text = told.readline()
            if not text:
                return None  # it ended before it had a filter
            pidfd = os.pidfd_open(self._pid)
            try:
                listener = notify.take(pidfd, int(text), lambda: bool(select.select([pidfd], [], [], 0)[0]))
                if listener is not None:
                    with suppress(BrokenPipeError):  # it was killed
                        tell.write(b"x")
                return listener
            finally:
                os.close(pidfd)

    def _serve(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while not self._stop.is_set():
            for _, event in poll.poll(_TICK):
                if event & select.POLLIN:
                    if call := notify.receive(listener):
                        self._judge(listener, call)
                elif event & select.POLLHUP:
                    return

    def _judge(self, listener: int, call: Notification) -> None:
        entry = cbpf.find(self._table, call.arch, call.number, call.args)
        if self._starting and call.pid == self._pid:
            self._starting = not (entry and entry.call == "execve" and call.args[0] == self._own_exec)
            notify.answer(listener, call.id, None)
        elif self.lifted:
            notify.answer(listener, call.id, None)
        elif entry is None or entry.rule not in self._actions:
            self._let_go(listener, call)
        else:
            self._refuse(listener, call, entry)

    def _let_go(self, listener: int, call: Notification) -> bool:
        """What the rules on calls let go on is judged beside another mechanism; whether it still waited."""
        entry = cbpf.find(self._judged_beside, call.arch, call.number, call.args)
        rule = self._beside.get(entry.rule) if entry else None
        if entry is None or rule is None:
            return notify.answer(listener, call.id, None)
        refused = record(call, entry)
        if not notify.valid(listener, call.id):
            return False
        outcome = judging.judge(rule, call, entry, refused, lambda: notify.valid(listener, call.id))
        answered = notify.answer(listener, call.id, None if outcome.goes_on else outcome.error)
        if outcome.refused:
            self._keep(refused)
        return answered

    def _refuse(self, listener: int, call: Notification, entry: Entry) -> None:
        self._settle(listener, call, record(call, entry), self._actions[entry.rule])

    def _settle(self, listener: int, call: Notification, refused: Refused, action: Action) -> None:
        """Do what the action says, and keep the record of a call that waited for it."""
        known = notify.valid(listener, call.id)
        if self._carry_out(listener, call, refused, action) or known:
            self._keep(refused)

    def _carry_out(self, listener: int, call: Notification, refused: Refused, action: Action) -> bool:
        """Whether the call waited until now."""

        def valid() -> bool:
            return notify.valid(listener, call.id)

        if action.kind == "kill" and valid() and kill_process(refused.pid, valid):
            return True
        error = _error(action)
        return self._let_go(listener, call) if error is None else notify.answer(listener, call.id, error)

    def _keep(self, refused: Refused) -> None:
        self.hits[refused.rule] += 1
        if len(self._records) < _RECORDS:
            self._records.append(refused)
        else:
            self.lost += 1
        self.news.set()


def _error(action: Action) -> int | None:
    """What to answer, None for going on; a caller that could not be killed is refused."""
    return {"errno": action.errno, "kill": _EPERM, "audit": None}[action.kind]


def record(call: Notification, entry: Entry) -> Refused:
    """The call as a refusal of the rule whose entry it met."""
    comm = (procfs.read(call.pid, "comm") or b"?").removesuffix(b"\n")
    tgid = procfs.number(procfs.read(call.pid, "status") or b"", b"Tgid") or call.pid
    args = _arguments(call, entry)
    shown = peek.what(call.pid, entry.call, entry.abi, args)
    return Refused(time.time_ns(), tgid, call.pid, comm, entry.call, entry.abi, args, entry.rule, shown)


def _arguments(call: Notification, entry: Entry) -> tuple[int, ...]:
    """The arguments of the call that is refused: of socketcall or ipc, those of the call that it is."""
    multiplexer = multiplexed.MULTIPLEXERS.get(call.number) if is_multiplexed(entry) else None
    found = (
        multiplexed.demultiplex(multiplexer, call.args, lambda at, count: peek.words(call.pid, at, count))
        if multiplexer
        else None
    )
    return found[1] if found else () if multiplexer else tuple(call.args)


def kill_process(pid: int, valid: Callable[[], bool]) -> bool:
    """SIGKILL to the process, which is surely the caller's while ``valid`` says so."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not valid():
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return True
    except OSError:
        return False
    finally:
        os.close(pidfd)
