"""Who is watched: the target as the user named it, as constants of the kernel filter, and as it is in /proc now."""

from __future__ import annotations

import os
import pwd
import shlex
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isotrace.containers.cgroups import populated
from isotrace.errors import IsotraceError, KernelError, UsageError
from isotrace.kernel import namespaces, procfs
from isotrace.kernel.procfs import Process
from isotrace.trace import names
from isotrace.trace.waited import Place, Waited

PROC = procfs.PROC


@dataclass(frozen=True)
class Target:
    """Conditions on a task, all of which must hold; ``None`` and ``()`` ask nothing. ``follow`` adds descendants of what
    matches.

    Of several ``ppid``, ``pid``, ``tree`` or ``comm`` one must hold; a single one may be given as it is. ``comm`` are
    names or patterns of them (``trace/names.py``). ``command`` is a program that isotrace starts itself and watches
    with all its descendants; ``tree`` is then its pid. ``spared`` are processes that never match. ``known`` tells who
    else descends from it: processes that have got another parent meanwhile. It is asked once the programs are
    attached. ``cgroup`` is a path; where it is that of a container or a pod, ``container`` says so to the user, in the
    option's words. Where it is ``waited`` for, that has the path, and ``cgroup`` only what the user gave. With ``keep``
    another name or parent frees nobody: who has met ``ppid`` and ``comm`` once stays, with ``comm`` up to an execve
    under another.
    """

    ppid: tuple[int, ...] = ()
    pid: tuple[int, ...] = ()
    tree: tuple[int, ...] = ()
    uid: int | None = None
    comm: tuple[str, ...] = ()
    cgroup: str | None = None
    container: str | None = None
    follow: bool = False
    command: tuple[str, ...] = ()
    spared: frozenset[int] = frozenset()
    keep: bool = False
    known: Callable[[], Collection[int]] | None = field(default=None, compare=False)
    waited: Waited | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("ppid", "pid", "tree", "comm"):
            value = getattr(self, name)
            if isinstance(value, int | str):
                object.__setattr__(self, name, (value,))

    def __str__(self) -> str:
        """As it would be asked for, for a title."""
        single = [("uid", self.uid), ("cgroup", None if self.container else self.cgroup)]
        values = [(name, value) for name in ("ppid", "pid", "tree", "comm") for value in getattr(self, name)]
        parts = [f"--{name} {value}" for name, value in (*values, *single) if value is not None]
        parts += [f"--{self.container}"] if self.container else []
        parts += ["--wait"] if self.waited else []
        parts += ["-f"] if self.follow else []
        parts += [shlex.join(self.command)] if self.command else []
        return "".join(c if c.isprintable() else "?" for c in " ".join(parts))

    def check_name(self) -> None:
        """Refuse a name that no process can have. Raises ``UsageError``."""
        for name in self.comm:
            if names.least(name) <= names.LENGTH:
                continue
            raise UsageError(
                f"--comm {name!r} is longer than a process name can be",
                f"the kernel keeps {names.LENGTH} bytes: {os.fsencode(name)[: names.LENGTH].decode(errors='replace')!r}",
            )

    def check(self) -> None:
        """Refuse an empty target, a process that does not exist, a cgroup that is none. Raises ``IsotraceError``."""
        if not self.conditions and not self.command:
            raise UsageError(
                "nothing to trace was named",
                "give --ppid N, --pid N, --tree N, --uid, --comm, --cgroup, --container, --pod or -- CMD",
            )
        self.check_name()
        if self.tree and self.command:
            raise UsageError("--tree and a command to start exclude each other", "leave one of them out")
        namespaces.check_proc()
        for option, pids in (("--ppid", self.ppid), ("--pid", self.pid), ("--tree", self.tree)):
            for pid in pids:
                _check_process(option, pid)

    def defines(self) -> list[str]:
        """The filter's constants (bpf/filter.h). Raises ``IsotraceError`` for a cgroup that cannot be read."""
        found = [f"SELF={os.getpid()}"]
        found += [f"FILTER_{name.upper()}={value}" for name, value in self._numbers()]
        found += [f"FILTER_{name.upper()}S" for name in ("ppid", "pid") if len(getattr(self, name)) > 1]
        if self.tree or self.command:
            found.append("FILTER_TREE")
        if self.table:
            found.append(f"FILTER_COMM_WORDS={self.table.words}")
        elif self.comm:
            raw = os.fsencode(self.comm[0]).ljust(16, b"\0")
            found += [f"FILTER_COMM_{half}={int.from_bytes(raw[8 * half :][:8], 'little')}ULL" for half in (0, 1)]
        if self.waited:
            found.append("FILTER_CGROUP_WAITED")
        elif self.cgroup is not None:
            path = self.place()
            found += [f"FILTER_CGROUP={path.stat().st_ino}ULL", f"FILTER_CGROUP_LEVEL={cgroup_level(path)}"]
        if self.follow:
            found.append("FOLLOW")
        if self.keeps:
            found.append("KEPT")
        if self.spared:
            found.append(f"SPARED(pid)=({'||'.join(f'(pid)=={pid}' for pid in sorted(self.spared))})")
        return found

    def place(self) -> Path:
        """``find_cgroup`` of the target's. Raises ``IsotraceError``, which says of a container that it has ended."""
        if self.waited:
            if found := self.waited.place():
                return found
            raise IsotraceError(f"{self.waited.name} does not run", "start it")
        try:
            return find_cgroup(self.cgroup or "")
        except IsotraceError:
            if self.container is None:
                raise
        hint = "start it again, and isotrace after it, or give --wait"
        raise IsotraceError(f"{self.container} has ended meanwhile", hint)

    def _numbers(self) -> list[tuple[str, int]]:
        single = [(name, value[0]) for name in ("ppid", "pid") if len(value := getattr(self, name)) == 1]
        return [*single, *([("uid", self.uid)] if self.uid is not None else [])]

    @property
    def conditions(self) -> frozenset[str]:
        """The names of the conditions that there are, without a command."""
        found = {name for name in ("ppid", "pid", "tree", "comm") if getattr(self, name)}
        return frozenset(found | {name for name in ("uid", "cgroup") if getattr(self, name) is not None})

    @property
    def table(self) -> names.Table | None:
        """What the kernel program matches names by; None where it compares with a single one, or with none.

        Raises ``UsageError`` for more than it can hold.
        """
        plain = len(self.comm) == 1 and not names.is_pattern(self.comm[0])
        return names.table(self.comm) if self.comm and not plain else None

    @property
    def descends(self) -> bool:
        """Whether descendants belong to this target."""
        return self.follow or bool(self.tree or self.command)

    @property
    def keeps(self) -> bool:
        """Whether who has matched once stays, though descendants do not belong to it."""
        return self.keep and not self.follow and bool(self.ppid or self.comm)

    @property
    def mapped(self) -> bool:
        """Whether the kernel keeps a map of processes for this target."""
        return self.descends or self.keeps

    @property
    def maps(self) -> tuple[str, ...]:
        """The maps that the programs keep for this target (bpf/filter.h)."""
        found = ["births", "seeding", "joined"] if self.mapped else []
        if self.tree or self.command:
            found.append("tree")
        if self.follow or self.keeps:
            found.append("followed")
        if max(len(self.pid), len(self.ppid)) > 1:
            found.append("chosen")
        if self.table:
            found.append("comm_bytes")
        if self.waited:
            found.append("waited")
        return tuple(found)


def unseen(target: Target) -> str:
    """What is said before a run whose target may have processes outside isotrace's pid namespace; "" where it has none."""
    found = sorted({"comm", "uid", "cgroup"} & target.conditions)
    if not found or namespaces.is_initial("pid"):
        return ""
    option = target.container.partition(" ")[0] if target.container and found == ["cgroup"] else found[0]
    return f"--{option}: only processes in isotrace's own pid namespace, or below it, are seen"


def _check_process(option: str, pid: int) -> None:
    """Raise ``IsotraceError`` unless this is a process; a thread's number is none, though /proc has it."""
    if not (PROC / str(pid)).exists():
        raise IsotraceError(f"{option} {pid}: no such process", "ps -e lists the processes there are")
    leader = procfs.number(procfs.read(pid, "status") or b"", b"Tgid")
    if leader is not None and leader != pid:
        raise IsotraceError(
            f"{option} {pid}: that is a thread of process {leader}", f"{option} {leader} has all of its threads"
        )


def parse_uid(text: str) -> int:
    """A user id from a number or a login name. Raises ``UsageError``."""
    if text.isdecimal() and int(text) < 1 << 32:
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise UsageError(f"no such user: {text!r}", "give a login name or a numeric user id") from None


def cgroup_mount() -> Path:
    """Where the unified hierarchy is mounted. Raises ``KernelError``."""
    if where := procfs.mounted("cgroup2"):
        return Path(where)
    raise KernelError("no cgroup2 file system is mounted", "mount -t cgroup2 none /sys/fs/cgroup")


def _below(path: Path) -> str:
    """A cgroup's directory as /proc/PID/cgroup would name it: from the root of isotrace's cgroup namespace on."""
    mounts = [mount for mount in procfs.mounts() if mount.kind == "cgroup2" and path.is_relative_to(mount.point)]
    if not mounts:
        raise KernelError(f"/proc does not tell which cgroup has the directory {str(path)!r}", "see: isotrace doctor")
    mount = max(mounts, key=lambda mount: len(mount.point))
    return str(Path(mount.root, path.relative_to(mount.point)))


def cgroup_level(path: Path) -> int:
    """How deep the cgroup of a directory is below the hierarchy's root. Raises ``KernelError``."""
    return namespaces.cgroup_depth() + namespaces.depth(_below(path))


def place_of(path: Path) -> Place:
    """The cgroup of a directory as it is now. Raises ``OSError``, ``KernelError``."""
    return Place(path, os.stat(path).st_ino, cgroup_level(path))


def find_cgroup(name: str) -> Path:
    """The directory of a cgroup; ``name`` is a path, absolute or below the mount.

    Raises ``IsotraceError``.
    """
    root = cgroup_mount()
    for path in (Path(name), root / name.lstrip("/")):
        if path.is_dir() and (path / "cgroup.controllers").exists():
            return path.resolve()
    raise IsotraceError(f"no such cgroup: {name!r}", f"give a directory below {root}")


def read_process(pid: int) -> Process | None:
    """The process as it is now, or None when it is gone."""
    return procfs.stat(procfs.read(pid, "stat") or b"")


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is more than a zombie; True where /proc cannot be asked."""
    try:
        found = procfs.stat((PROC / str(pid) / "stat").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
    return found is None or found.lives


def processes() -> Iterator[Process]:
    """Every process there is."""
    for entry in os.scandir(PROC):
        if entry.name.isdecimal() and (found := read_process(int(entry.name))):
            yield found


def descendants(roots: Iterable[int], parents: Iterable[tuple[int, int]]) -> set[int]:
    """``roots`` and all that descend from them; ``parents`` are (child, parent) pairs."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for child, parent in parents:
        children[parent].append(child)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children[pid]
    return found


def matching(target: Target) -> set[int]:
    """The processes that meet the target's own conditions now, apart from whom they descend from."""
    return {process.pid for process in processes() if process.pid != os.getpid() and meets(target, process)}


def meets(target: Target, process: Process) -> bool:
    if target.pid and process.pid not in target.pid:
        return False
    if target.ppid and process.ppid not in target.ppid:
        return False
    if target.comm and not names.match(target.comm, process.comm) and not _kept_name(target, process.pid):
        return False
    return _owned(target, process.pid) and _confined(target, process.pid)


def _kept_name(target: Target, pid: int) -> bool:
    """Whether one of its threads has the name, where that counts for all of them."""
    if not target.keep:
        return False
    try:
        threads = os.listdir(PROC / str(pid) / "task")
    except OSError:
        return False
    found = (procfs.read(pid, "task", thread, "comm") for thread in threads)
    return any(name and names.match(target.comm, name[:-1]) for name in found)


def uid_of(pid: int) -> int | None:
    """The real user id of a process; None when it is gone."""
    return procfs.number(procfs.read(pid, "status") or b"", b"Uid")


def _owned(target: Target, pid: int) -> bool:
    return target.uid is None or uid_of(pid) == target.uid


def _confined(target: Target, pid: int) -> bool:
    if target.cgroup is None:
        return True
    try:
        inside = os.fsencode(_below(target.place())).rstrip(b"/") + b"/"
    except IsotraceError:  # the cgroup is gone, and so nobody is in it
        return False
    return (procfs.cgroup(procfs.read(pid, "cgroup") or b"") + b"/").startswith(inside)


def members(target: Target, descendants_known: set[int]) -> set[int]:
    """The processes that are watched now: those that meet the conditions, and those that descend from such."""
    if target.follow and (target.tree or target.command):
        return descendants_known
    if target.tree or target.command:
        return {pid for pid in descendants_known if (process := read_process(pid)) and meets(target, process)}
    return matching(target) | descendants_known


def ended(target: Target, alive: Callable[[], bool]) -> str | None:
    """That the processes which the target names have ended, reaped or not, in words, or None.

    ``alive()`` tells whether any are left of a target that follows descendants: of a tree, itself or its descendants; of
    others, descendants, and it is asked only once the named one is gone. What is waited for comes again.
    """
    named = target.pid or target.ppid or target.tree
    if (target.tree or not any(map(lives, named))) if named else _emptied(target):
        if (target.follow or target.keeps or target.tree) and alive():
            return None
        if not named:
            return f"{target.container} ended"
        return f"process{'es' if len(named) > 1 else ''} {', '.join(map(str, named))} ended"
    return None


def _emptied(target: Target) -> bool:
    """Whether no process is left in the cgroup of a container or a pod. Another cgroup may be filled again."""
    if target.container is None or target.cgroup is None or target.waited:
        return False
    return not populated(Path(target.cgroup))
