"""The seccomp mechanism: a filter that a command and all its descendants inherit, and a supervisor that answers for it.

Every call that a rule refuses is a user notification: the supervisor records it and answers with the error, kills the
caller, or (audit) lets it go on. The decision is by number and registers alone: nothing is read from memory, so
there is nothing to race for. A filter cannot be lifted; ``lift`` lets every call go on for as long as isotrace runs.
If isotrace is killed, the kernel answers in its place, with ENOSYS: the calls stay refused, also under audit.

The command's process installs the filter before its execve. What it calls until then is let through, and so is that
one execve, which is known by the address of its file name. It has a listener of its own first, and what it calls would
wait for ever if isotrace ended: until the supervisor has one and its own is closed it ends with isotrace.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence

from isotrace import catalog
from isotrace.enforce import Counts, Enforced, Question, Refused, Verdict
from isotrace.enforce.calls import asking, cbpf, notify
from isotrace.enforce.calls.asking import AskingSupervisor
from isotrace.enforce.calls.cbpf import Entry, Table, Test
from isotrace.enforce.calls.supervisor import Supervisor
from isotrace.enforce.landlock import beside
from isotrace.errors import IsotraceError, KernelError, UsageError
from isotrace.policy.model import asks
from isotrace.process import libc
from isotrace.process.launch import Execute
from isotrace.trace.target import Target

_LOG = logging.getLogger(__package__)
_MAX_PATH = 4096
_OWN_EXEC = -1  # the rule number of the command's own execve


def make(enforced: Sequence[Enforced], target: Target) -> Seccomp:
    """The enforcer for the rules. Raises ``UsageError`` when they do not fit into one filter."""
    del target  # a command and all that descends from it: what a filter is inherited by
    reporting = notify.listens().verdict == "yes"
    if any(asks(one.rule) for one in enforced):
        return AskingSeccomp(enforced, reporting)
    return Seccomp(enforced, reporting)


class Seccomp:
    """An ``Enforcer``; ``code`` is the filter. Without ``reporting`` the kernel refuses alone, and nothing is recorded."""

    def __init__(self, enforced: Sequence[Enforced], reporting: bool) -> None:
        machine = os.uname().machine
        self._path = ctypes.create_string_buffer(_MAX_PATH + 1)
        self._actions = {one.number: one.action for one in enforced}
        self._beside = beside.of(enforced)
        self._table = self._make_table([one for one in enforced if one.number not in self._beside], machine)
        self._reporting = reporting
        if reporting:
            self._mark_own_exec(machine)
        try:
            self.code = cbpf.program(self._whole(machine), machine, self._verdicts())
        except OverflowError as error:
            raise UsageError(
                f"too many rules for seccomp: {error}", "name fewer calls, or words and families"
            ) from None
        _LOG.debug(
            "seccomp filter: %d instructions, %d system call numbers; %s",
            len(self.code) // cbpf.INSTRUCTION_BYTES,
            len(self._whole(machine)),
            "isotrace gets a notification of each denied call" if reporting else "without notifications",
        )
        self._descriptor, self._tell = os.pipe()
        self._taken, self._take = os.pipe()
        self._supervisor: Supervisor | None = None

    @staticmethod
    def _make_table(enforced: Sequence[Enforced], machine: str) -> Table:
        return cbpf.table(enforced, machine)

    def _supervise(self, pid: int, descriptor: int, address: int) -> Supervisor:
        return Supervisor(pid, descriptor, self._take, self._table, self._actions, address, self._beside)

    def _whole(self, machine: str) -> Table:
        """With what is judged beside another mechanism, behind the rules on calls."""
        found = {key: list(entries) for key, entries in self._table.items()}
        for key, entries in beside.table(self._beside, machine).items():
            for entry in entries:
                cbpf.put(found, key, entry)
        return found

    def _mark_own_exec(self, machine: str) -> None:
        """Have the command's own execve reported also where execve is not refused."""
        arch, abis = next(iter(cbpf.ARCHES[machine].items()))
        key = (arch, catalog.by_name(abis[0])["execve"].number)
        own = Entry("execve", abis[0], _OWN_EXEC, Test(0, equals=ctypes.addressof(self._path)))
        self._table[key] = [own, *self._table.get(key, [])]

    def _verdicts(self) -> dict[int, int]:
        if self._reporting:
            told = dict.fromkeys((*self._actions, _OWN_EXEC, asking.OBJECTS), cbpf.RET_USER_NOTIF)
            return told | beside.VERDICTS
        return {
            number: cbpf.RET_KILL_PROCESS if action.kind == "kill" else cbpf.RET_ERRNO | action.errno
            for number, action in self._actions.items()
        }

    def starter(self) -> Execute:
        """Installs the filter, then executes the command."""
        return self._execute

    def _execute(self, path: str, argv: Sequence[str], let_go: Callable[[], object]) -> None:
        """In the child. What is called when the filter is there is answered like any other call."""
        self._path.value = os.fsencode(path)
        arguments = _vector([os.fsencode(word) for word in argv])
        environment = _vector([name + b"=" + value for name, value in os.environb.items()])
        libc.no_new_privs()
        if self._reporting:
            os.close(self._take)
            os.write(self._tell, b"%d\n" % notify.free_descriptor(self._tell))
        listener = notify.install(self.code, self._reporting)
        if self._reporting:
            taken = os.read(self._taken, 1)
            os.close(listener)
            if not taken:
                raise ProcessLookupError(errno.ESRCH, "nobody answers for its filter")
        let_go()
        notify.call("execve", self._path, arguments, environment)

    def open(self, pid: int | None) -> None:
        """Supervise the command. Raises ``KernelError``."""
        if pid is None:
            raise KernelError("seccomp works only in a command that isotrace starts", "isotrace block … -- CMD")
        os.close(self._tell)
        os.close(self._taken)
        self._tell = self._taken = -1
        if self._reporting:
            address = ctypes.addressof(self._path)
            self._supervisor = self._supervise(pid, self._descriptor, address)
            self._descriptor = self._take = -1

    def wait(self, seconds: float) -> None:
        """Return when records are waiting, or after ``seconds``. Raises what ended the supervisor."""
        if self._supervisor is None:
            time.sleep(seconds)
            return
        self._supervisor.news.wait(seconds)
        self._supervisor.news.clear()
        if self._supervisor.trouble:
            raise IsotraceError(
                f"the seccomp supervisor failed: {self._supervisor.trouble}", "what it denied stays denied"
            )

    def batches(self) -> Iterator[Sequence[Refused]]:
        """All records that have arrived by now."""
        if self._supervisor and (records := self._supervisor.drain()):
            yield records

    def broken(self) -> str:
        """Nobody can take it away."""
        return ""

    def alive(self) -> bool:
        """Whether a process is left under the filter; without reporting nobody knows, and nobody is needed."""
        return self._supervisor is not None and not self._supervisor.gone.is_set()

    def lift(self) -> None:
        """Let every call go on, as long as isotrace runs."""
        if self._supervisor:
            self._supervisor.lifted = True

    def counts(self) -> Counts:
        """Refusals by rule; every call that the filter meets is one."""
        if self._supervisor is None:
            return Counts(counted=self._reporting)
        hits = dict(self._supervisor.hits)
        return Counts(hits, hits, self._supervisor.lost)

    def close(self) -> None:
        """Leave the processes to their filter."""
        if self._supervisor:
            self._supervisor.close()
        for descriptor in (self._descriptor, self._tell, self._taken, self._take):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._tell = self._taken = self._take = -1


class AskingSeccomp(Seccomp):
    """An ``Asking``: some of its rules have somebody asked, and rules on paths and addresses are among them."""

    def __init__(self, enforced: Sequence[Enforced], reporting: bool) -> None:
        self._enforced = tuple(enforced)
        self._asking: AskingSupervisor | None = None
        super().__init__(enforced, reporting)

    @staticmethod
    def _make_table(enforced: Sequence[Enforced], machine: str) -> Table:
        return asking.table(enforced, machine)

    def _supervise(self, pid: int, descriptor: int, address: int) -> Supervisor:
        self._asking = AskingSupervisor(
            pid, descriptor, self._take, self._table, self._actions, address, self._enforced, self._beside
        )
        return self._asking

    def wait_for_questions(self, seconds: float) -> None:
        """Return once one has come, or after ``seconds``."""
        if self._asking is None:
            time.sleep(seconds)
        else:
            self._asking.asked.wait(seconds)
            self._asking.asked.clear()

    def questions(self) -> Sequence[Question]:
        """Those that have come since the last look."""
        return self._asking.questions() if self._asking else ()

    def gone(self) -> Sequence[int]:
        """Those that wait no more although nobody answered."""
        return self._asking.gone_by_themselves() if self._asking else ()

    def answer(self, id: int, verdict: Verdict) -> bool:
        """Whether it still waited."""
        return self._asking is not None and self._asking.answer(id, verdict)


def _vector(words: Sequence[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    """A NULL-terminated ``char *[]``."""
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)
