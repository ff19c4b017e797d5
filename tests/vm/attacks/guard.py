"""isotrace's processes and BPF objects, and what its programs hang on: attacked by root in the target."""

from tests.vm.attacks import REFUSED, Row, by

#: HERE/pid is isotrace, or where nothing is refused a process that may be lost.
_PID = "pgrep -of '[i]sotrace.__main__ import main' >pid || { sleep 600 >/dev/null 2>&1 & echo $! >pid; }"
_RULES = ("--deny-path", "HERE/denied")
_GROUP = "mkdir cg; mount -t cgroup2 none cg; mkdir -p cg/isotrace-attack"


def _row(what: str, attack: str, **more: object) -> Row:
    return Row(what, _RULES, f"BIN/guard {attack}", by(REFUSED), meanwhile=_PID, user="root", **more)  # type: ignore[arg-type]


ROWS = (
    _row("isotrace is killed", "kill $(cat pid) 9", quick=True),
    _row("isotrace is stopped", "kill $(cat pid) 19"),
    _row("a thread of isotrace is killed", "tkill $(cat pid)"),
    _row("isotrace is sent a queued signal", "queue $(cat pid)"),
    _row("isotrace is killed by its pidfd", "pidfd $(cat pid)", quick=True),
    _row("isotrace owns a file that sends SIGKILL for SIGIO", "sigio $(cat pid)", quick=True),
    _row("a counter sends isotrace SIGTRAP", "sigtrap $(cat pid)", untried=("5.10",), quick=True),
    _row("isotrace gets a limit of processor time", "limit $(cat pid)"),
    _row("isotrace is traced", "attach $(cat pid)", quick=True),
    _row("isotrace's memory is opened", "mem $(cat pid)", quick=True),
    _row("isotrace's memory is written", "vm $(cat pid)"),
    _row("isotrace's descriptors are taken", "getfd $(cat pid)"),
    _row("isotrace's output is opened", "output $(cat pid)"),
    _row("isotrace is the first to go for want of memory", "oom $(cat pid)"),
    _row("isotrace's maps by number", "map", control=False, quick=True),
    _row("isotrace's programs by number", "program", control=False),
    _row("isotrace's links by number", "link", control=False),
    _row("a program that runs in isotrace's context", "load"),
    _row("a program that rewrites addresses", "rewrite"),
    _row("a probe on a program that isotrace runs", "probe /bin/sh"),
    _row("ftrace is switched off", "ftrace", quick=True),
    _row("ftrace is switched off by another proc", "otherproc cg", setup="mkdir cg"),
    _row("kprobes are switched off", "kprobes"),
    _row("tracefs is written to", "tracefs"),
    _row("the magic SysRq", "sysrq", untried=("6.1-override",)),
    _row("the kernel's program for cores", "helper"),
    _row("a whole cgroup is killed", "cgroup cg/isotrace-attack", setup=_GROUP, needs=("cgroup2",), untried=("5.10",)),
    Row(
        "the command has isotrace trace it", ("--deny-path", "HERE/denied"), ("guard", "traceme"), by(REFUSED),
        how="command", control=False,
    ),
)  # fmt: skip
