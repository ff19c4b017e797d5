"""From what a runtime says of a container to its cgroup, or the reason why that is not believed.

Files outlive what they tell of, and numbers of processes are used again. A process is the container's where it began when
the runtime says it did, or where its cgroup has the container's id in a name. A cgroup is the container's where its name
has the id, or the runtime says so; never that of everybody. What a user's runtime says is believed of what is that user's.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection
from pathlib import Path

from isotrace.containers.runtimes import Record, is_id, payload
from isotrace.decode.quote import safe
from isotrace.kernel import procfs

_LONG = re.compile(r"[0-9a-f]{32,}")


class NotRunning(Exception):
    """It does not run, with the reason for whoever is told so."""


class NotBelieved(Exception):
    """It may run, and which cgroup it has is not known."""


def is_long(id: str) -> bool:
    """Whether an id was drawn by lot, so that it is nobody else's: 32 hexadecimal digits or more."""
    return bool(_LONG.fullmatch(id))


def populated(path: Path) -> bool:
    """Whether a process is in a cgroup or below it; True where that cannot be told, but for a cgroup that is gone."""
    try:
        return b"populated 0" not in procfs.lines((path / "cgroup.events").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a name with a NUL, which none has
        return False
    except OSError as error:
        return error.errno != errno.ENODEV  # removed while it was open


def of(record: Record, known: Collection[str]) -> Path:
    """The container's cgroup, as a directory; ``known`` are the ids of all containers.

    Raises ``NotRunning``, ``NotBelieved``.
    """
    mount = procfs.mounted("cgroup2")
    if mount is None:
        raise NotBelieved("no cgroup file system of version 2 is mounted")
    if record.payload:
        return _by_name(Path(mount), record, known)
    if not record.pid:
        raise NotRunning("it has no process")
    began = _began(record)
    path = _path(record.pid)
    own = "/".join(_own(path.strip("/").split("/"), record, known, mount))
    _check_mount(Path(mount, path.strip("/")), record.pid)
    if record.owner:
        _check_owner(Path(mount, own), record)
    if procfs.started(record.pid) != began:
        raise NotRunning(f"its process {record.pid} has ended")
    return Path(mount, own)


def payload_places(name: str) -> dict[str, bool]:
    """The directories where the cgroup of a container of LXC comes, or is: there a file tells whether it has processes."""
    mount = procfs.mounted("cgroup2")
    if mount is None or not is_id(name):
        return {}
    above = {mount: False, f"{mount}/lxc.payload": False, f"{mount}/lxc": False}
    return above | {f"{mount}/{path}": True for path in payload(name)}


def _by_name(mount: Path, record: Record, known: Collection[str]) -> Path:
    first = record.payload[0]
    found = [path for name in record.payload if populated(path := mount / name)]
    if not found:
        # What LXC names it where an older one could not be removed; and what that of a container NAME-1 is named.
        others = [path.name for path in mount.glob(f"{first}-[0-9]*") if populated(path)]
        if other := next((name for name in others if name.removeprefix("lxc.payload.") not in known), None):
            raise NotBelieved(f"there is no process in a cgroup {first}, and {safe(other)} may be its or another's")
        raise NotRunning(f"there is no process in a cgroup {first}")
    if len(found) > 1:
        raise NotBelieved(f"two cgroups may be its: {' and '.join(map(str, found))}")
    return found[0]


def _began(record: Record) -> int:
    """When its process began. Raises ``NotRunning``."""
    process = procfs.stat(procfs.read(record.pid, "stat") or b"")
    if process is None or not process.lives:
        raise NotRunning(f"its process {record.pid} has ended")
    if record.started and record.started != process.started:
        raise NotRunning(f"its process {record.pid} has ended, and the number is another process's now")
    return process.started


def _path(pid: int) -> str:
    """The process's cgroup of version 2. Raises ``NotBelieved`` where it has none of its own."""
    data = procfs.read(pid, "cgroup")
    if not data:
        raise NotBelieved(f"the cgroup of its process {pid} cannot be read")
    path = os.fsdecode(procfs.cgroup(data))
    if ".." in path.split("/"):
        raise NotBelieved("isotrace is in a cgroup namespace that does not reach to its cgroup")
    if "\0" in path:
        raise NotBelieved(f"the cgroup of its process {pid} is none: its name has a NUL")
    if path.strip("/"):
        return path
    where = "in the root cgroup of version 2, with everybody" if path else "in no cgroup of version 2"
    others = (line.partition(b":")[2] for line in procfs.lines(data) if not line.startswith(b"0::"))
    older = max(others, key=_depth, default=b"")
    in_older = f", and in {safe(os.fsdecode(older))} of version 1" if _depth(older) else ""
    raise NotBelieved(f"its process {pid} is {where}{in_older}: --container and --pod need version 2")


def _depth(line: bytes) -> int:
    return len(line.partition(b":")[2].strip(b"/"))


def _own(parts: list[str], record: Record, known: Collection[str], mount: str) -> list[str]:
    """The part of a process's path that is the container's cgroup. Raises ``NotBelieved``."""
    where = safe("/" + "/".join(parts))
    if is_long(record.id):
        for at, part in enumerate(parts):
            if record.id in part and "-conmon-" not in part:
                return parts[: at + 1]
            if other := next((id for id in known if id != record.id and is_long(id) and id in part), None):
                raise NotBelieved(
                    f"its process {record.pid} is in {where}, which is the cgroup of container {other[:12]}"
                )
    elif record.unit and record.unit in parts:
        at = parts.index(record.unit) + 1
        return parts[: at + 1] if parts[at : at + 1] == ["payload"] else parts[:at]
    elif record.started:
        for at, part in enumerate(parts):
            if part == record.id or part.endswith(f"-{record.id}.scope"):
                return parts[: at + 1]
    if record.started and (told := _told(record.cgroup, mount)) and parts[: len(told)] == told and not _has_us(told):
        return told
    raise NotBelieved(f"its process {record.pid} is in {where}, and nothing says that this is the container's cgroup")


def _told(path: str, mount: str) -> list[str]:
    """The components of a path that a runtime tells, below the mount."""
    path = path.removeprefix(mount) if path.startswith(f"{mount}/") else path
    return [part for part in path.split("/") if part]


def _has_us(parts: list[str]) -> bool:
    """Whether isotrace itself is there: it is then no container's alone."""
    ours = os.fsdecode(procfs.cgroup(procfs.read("self", "cgroup") or b""))
    return ours.strip("/").split("/")[: len(parts)] == parts


def _check_owner(path: Path, record: Record) -> None:
    """Whether the process, and the cgroup with whatever comes into it, are of the user whose runtime says so."""
    if not procfs.is_of_user(record.pid, record.owner):
        raise NotBelieved(f"its process {record.pid} is not one of user {record.owner}")
    try:
        owner = os.stat(path).st_uid
    except OSError:
        raise NotRunning(f"its process {record.pid} has ended") from None
    if owner != record.owner:
        raise NotBelieved(f"its cgroup {safe(str(path))} is user {owner}'s, not user {record.owner}'s")


def _check_mount(path: Path, pid: int) -> None:
    """Whether that directory is the process's cgroup: what is mounted need not begin where paths in /proc do."""
    for name in ("cgroup.procs", "cgroup.threads"):  # the first cannot be read of threaded cgroups
        try:
            found = (path / name).read_bytes()
        except OSError:
            continue
        if str(pid).encode() in found.split():
            return
    raise NotBelieved(f"{safe(str(path))} is not the cgroup of its process {pid}")
