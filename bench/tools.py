"""The tracers, as rows: how each is told to trace a command and nothing else, what it records, how it says what it lost."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ISOTRACE = (sys.executable, "-m", "isotrace")

#: What is asked of the tools; those of one group are compared with each other.
GROUPS = {
    "text": "every call, decoded as text into a file",
    "records": "every call, as a record, not decoded",
    "counts": "every call, counted (isotrace: with errors, latency and bytes)",
    "opens": "only openat, as text into a file",
}

_FOLLOW = (
    "BEGIN { @t[cpid] = 1 } tracepoint:sched:sched_process_fork /@t[args->parent_pid]/ { @t[args->child_pid] = 1 } "
    "END { clear(@t) } "
)
_ARGUMENTS = ", ".join(f"args->args[{i}]" for i in range(6))
_PRINT = (
    _FOLLOW
    + 'tracepoint:raw_syscalls:sys_enter /@t[pid]/ { printf("%d %s %d(%lx, %lx, %lx, %lx, %lx, %lx)\\n", pid, comm, '
    + f"args->id, {_ARGUMENTS}) }} "
    + 'tracepoint:raw_syscalls:sys_exit /@t[pid]/ { printf("%d %d = %ld\\n", pid, args->id, args->ret) }'
)
_COUNT = _FOLLOW + "tracepoint:raw_syscalls:sys_enter /@t[pid]/ { @[args->id] = count() }"
_TIMES = (
    _FOLLOW
    + "tracepoint:raw_syscalls:sys_enter /@t[pid]/ { @s[tid] = nsecs } "
    + "tracepoint:raw_syscalls:sys_exit /@s[tid]/ { $t = nsecs - @s[tid]; @[args->id] = count(); @h[args->id] = hist($t); "
    + "if (args->ret < 0) { @e[args->id, args->ret] = count() } delete(@s[tid]) }"
)
_OPENS = (
    _FOLLOW
    + 'tracepoint:syscalls:sys_enter_openat /@t[pid]/ { printf("%d %s %s\\n", pid, comm, str(args->filename)) } '
    + 'tracepoint:syscalls:sys_exit_openat /@t[pid]/ { printf("%d = %ld\\n", pid, args->ret) }'
)

_LOST_ISOTRACE = r"(\d+) calls, \d+ delivered, (\d+) lost"


@dataclass(frozen=True)
class Tool:
    """A tracer in one of its uses.

    ``command`` has OUT for the output file and ends where the traced command follows. With ``attach`` (for tools that
    cannot start one) it ends where the pid of a process does, and the pattern is what it says when it is ready.
    ``lost`` finds, in what the tool said or in its output, the number that it lost: its last group. ``slow`` is by how
    much the work is made smaller, for a tool that would take minutes. ``less``: what it records is less than what the
    others of its group do. ``quoted``: the traced command is one word.
    """

    name: str
    group: str
    command: tuple[str, ...]
    package: str
    lost: str = ""
    slow: int = 1
    attach: str = ""
    quoted: bool = False
    less: bool = False

    def argv(self, out: Path, work: Sequence[str]) -> list[str]:
        """The command line that traces ``work``."""
        head = [word.replace("OUT", str(out)) for word in self.command]
        return [*head, shlex.join(work)] if self.quoted else [*head, *work]

    @property
    def is_ours(self) -> bool:
        """Whether this is isotrace."""
        return self.command[: len(ISOTRACE)] == ISOTRACE

    def missing(self) -> str | None:
        """Why it cannot be run at all, or None."""
        return None if shutil.which(self.command[0]) else f"not installed (package {self.package})"

    def losses(self, said: str) -> int:
        """How many calls or events it says it has lost."""
        return sum(int(found[found.lastindex or 0]) for found in re.finditer(self.lost, said)) if self.lost else 0


def _isotrace(group: str, *options: str) -> Tool:
    return Tool(" ".join(("isotrace", *options)), group, (*ISOTRACE, *options, "--"), "isotrace", _LOST_ISOTRACE)


def _log(group: str, *options: str) -> Tool:
    one = _isotrace(group, "log", *options)
    return Tool(one.name, group, (*ISOTRACE, "log", "-o", "OUT", *options, "--"), "isotrace", _LOST_ISOTRACE)


def _strace(group: str, name: str, *options: str) -> Tool:
    return Tool(name, group, ("strace", "-f", *options, "-o", "OUT"), "strace", slow=20)


def _bpftrace(group: str, name: str, program: str, less: bool = False) -> Tool:
    command = ("bpftrace", "-q", "-o", "OUT", "-e", program, "-c")
    return Tool(name, group, command, "bpftrace", r"Lost (\d+) events", quoted=True, less=less)


_PERF_TRACE = ("perf", "trace", "-o", "OUT")
_PERF_RECORD = ("perf", "record", "-q", "-e", "raw_syscalls:*", "-o", "OUT")
_BCC = r"Possibly lost (\d+) samples"

#: The first start on a machine, or after an update: nothing is kept yet and LLVM has to compile.
COLD = Tool(
    "isotrace log, nothing kept",
    "text",
    ("env", "ISOTRACE_CACHE=off", *ISOTRACE, "log", "-o", "OUT", "--"),
    "isotrace",
)

TOOLS = (
    _log("text"),
    _strace("text", "strace -f"),
    Tool("perf trace", "text", _PERF_TRACE, "linux-perf", r"LOST (\d+) events"),
    _bpftrace("text", "bpftrace, print", _PRINT),
    _isotrace("records", "log", "--format", "none"),
    Tool("perf record", "records", _PERF_RECORD, "linux-perf", r"LOST(?:_SAMPLES)? events:\s+(\d+)"),
    _isotrace("counts", "top", "--once"),
    _bpftrace("counts", "bpftrace, count", _COUNT, less=True),
    _bpftrace("counts", "bpftrace, count, errors, latency", _TIMES),
    Tool("syscount", "counts", ("syscount-bpfcc", "-p"), "bpfcc-tools", attach="^Tracing", less=True),
    _log("opens", "--calls", "openat"),
    _strace("opens", "strace -f --seccomp-bpf", "--seccomp-bpf", "-e", "trace=openat"),
    _bpftrace("opens", "bpftrace, openat", _OPENS),
    Tool("opensnoop", "opens", ("opensnoop-bpfcc", "-p"), "bpfcc-tools", _BCC, attach=r"^PID\s+COMM"),
)
