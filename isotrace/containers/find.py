"""Containers by name and id, pods by namespace and name: one, or an error that says what there is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from isotrace.containers import cgroups, runtimes
from isotrace.containers.cgroups import NotBelieved, NotRunning
from isotrace.containers.runtimes import Pod, Record
from isotrace.containers.sockets import Asking, AskingAgain, Wanted
from isotrace.containers.states import Again, States
from isotrace.decode.quote import safe
from isotrace.errors import IsotraceError, UsageError
from isotrace.kernel import procfs

#: A user's container: the user's number, and the name or the digits.
_OF_USER = re.compile(r"([1-9][0-9]{0,9})/([^/]+)")
_PREFIX = re.compile(r"[0-9a-f]{4,}")
#: The names of pods' cgroups, by cgroupfs and by systemd; the uid of a static pod has no dashes.
_POD = re.compile(r"(?:.*-)?pod([0-9a-f]{8}[-_][0-9a-f_-]{27}|[0-9a-f]{32})(?:\.slice)?")
_RUNTIMES = "docker, podman, containerd, CRI-O, LXC, systemd-nspawn, runc or crun"
_SHOWN = 8
#: What helps where a container does not run.
_START = "start it first, or give --wait: isotrace then waits for it"


class NotThere(IsotraceError):
    """There is none of that name, or it does not run: that may come. ``near`` are names that are like it."""

    near: tuple[str, ...] = ()


@dataclass(frozen=True)
class Container:
    """What all records of one container say together; the first is that of the runtime a user knows it by."""

    records: tuple[Record, ...]

    @property
    def id(self) -> str:
        return self.records[0].id

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for record in self.records for name in record.names))

    @property
    def pod(self) -> Pod | None:
        return next((record.pod for record in self.records if record.pod), None)

    @property
    def name(self) -> str:
        """The name that tells most and is shortest, else the id, or as many of its digits as people use."""
        names = [name for name in self.names if name != self.id]
        called = min(names, key=lambda name: (name.count("/") == 0, len(name)), default=self._short)
        return f"{self.owner}/{called}" if self.owner else called

    @property
    def owner(self) -> int:
        """The user whose runtime tells of it, 0 where root's does."""
        return self.records[0].owner

    @property
    def _short(self) -> str:
        return self.id[:12] if cgroups.is_long(self.id) else self.id

    def __str__(self) -> str:
        """For the user, whatever its names are."""
        name = f" {_quoted(self.name)}" if self.name != self._short else ""
        whose = f" of user {self.owner}" if self.owner else ""
        return f"{self.records[0].runtime} container {safe(self._short)}{name}{whose}"


@dataclass(frozen=True)
class Found:
    """A cgroup, and what was not readable on the way to it; what the container is called, where it is one's."""

    cgroup: Path
    troubles: tuple[str, ...]
    name: str = ""


def containers(records: Iterable[Record]) -> list[Container]:
    """All that are told of, each once, by whatever number of runtimes that is. A user's are never one with another's."""
    found: dict[tuple[int, str, str], list[Record]] = {}
    for record in records:
        realm = "" if cgroups.is_long(record.id) else record.realm or record.runtime
        found.setdefault((record.owner, realm, record.id), []).append(record)
    return [Container(tuple(sorted(records, key=lambda record: record.low))) for records in found.values()]


@dataclass(frozen=True)
class Named:
    """What containers are called: those that run by the directory of their cgroup, others that have a long id by that.

    ``known`` are all ids. In the directories ``doubted``, and below, are processes of containers whose cgroup is not known;
    None where it cannot be told which these are.
    """

    running: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    known: Collection[str] = ()
    doubted: Collection[str] | None = ()


def named(states: States) -> Named:
    """What the files of runtimes say."""
    every = containers(runtimes.records(states))
    known = _ids(every)
    running, others, doubted = {}, {}, []
    for one in every:
        try:
            running[str(_resolve(one, known))] = one.name
            continue
        except NotBelieved:
            doubted += [procfs.cgroup_directory(record.pid) for record in _claims(one)]
        except NotRunning:
            pass
        if cgroups.is_long(one.id):
            others[one.id] = one.name
    places = [place for place in doubted if place is not None]
    return Named(running, others, known, places if len(places) == len(doubted) else None)


def container(name: str, root: str | None = None, states: States | None = None, asking: Asking | None = None) -> Found:
    """The cgroup of the container of that name, or whose id begins so; ``states`` and ``asking`` are of whoever looks again
    and again. Sockets are asked where files do not tell: a user's where root's do not either, or where UID/NAME says so.

    Raises ``IsotraceError``; ``NotThere`` may pass.
    """
    states = states or _states(root)
    asking = asking or Asking(states.root, _wanted(name))
    user, called = _user_and_name(name)
    told = runtimes.records(states)
    every = offered = containers(told)
    chosen = [] if user else _matching(every, called)
    if not user and not _any_runs(chosen, every):
        every = offered = containers([*told, *asking(0).told(states)])
        chosen = _matching(every, called)
    if not chosen:
        theirs = containers(asking(user or None).told(states))
        chosen = _believed(_matching(theirs, called), every)
        offered = theirs if user else every
    if not chosen:
        what = f"no container is named {_quoted(name)}{', and no id begins so' if _PREFIX.fullmatch(called) else ''}"
        raise _unknown(what, name, (one for other in offered for one in _calls(other)), states)
    one = _only(chosen, called, every)
    unique = name == one.id and cgroups.is_long(name)
    return Found(_cgroup(one, _ids(every)), () if unique else tuple(states.troubles), one.name)


def _user_and_name(text: str) -> tuple[int, str]:
    """What UID/NAME names; of other names the user is 0."""
    match = _OF_USER.fullmatch(text)
    return (int(match[1]), match[2]) if match else (0, text)


def _matching(every: Iterable[Container], name: str) -> list[Container]:
    """Those of that name or id, else those whose id begins so."""
    exact = [one for one in every if name == one.id or name in one.names]
    return exact or [one for one in every if _begins(one.id, name)]


def _begins(id: str, name: str) -> bool:
    return bool(_PREFIX.fullmatch(name)) and cgroups.is_long(id) and id.startswith(name)


def _wanted(name: str) -> Wanted:
    """Whether a record may be of the container of that name."""
    called = _user_and_name(name)[1]
    return lambda record: called == record.id or called in record.names or _begins(record.id, called)


def _only(chosen: list[Container], name: str, every: Iterable[Container]) -> Container:
    """The one of these that is meant. Raises ``IsotraceError``."""
    if len(chosen) > 1 and name in (chosen[0].id, *chosen[0].names):
        known = _ids(every)
        chosen = [one for one in chosen if _may_run(one, known)] or chosen
    if len(chosen) > 1:
        users = len({one.owner for one in chosen}) > 1
        hint = f"give UID/NAME, such as {chosen[0].owner}/NAME" if users else "give more of the id"
        raise IsotraceError(f"{_quoted(name)} may be {len(chosen)} containers", hint, _listed(map(str, chosen)))
    return chosen[0]


def _believed(theirs: list[Container], every: Iterable[Container]) -> list[Container]:
    """Of users' containers those that are found, else all: what one user says is not to hide what another has."""
    found, known = [], _ids(every)
    for one in theirs:
        with suppress(NotRunning, NotBelieved):
            _resolve(one, known)
            found.append(one)
    return found or theirs


def _ids(every: Iterable[Container]) -> set[str]:
    return {one.id for one in every}


def _any_runs(chosen: Iterable[Container], every: Iterable[Container]) -> bool:
    known = _ids(every)
    return any(_may_run(one, known) for one in chosen)


def pod(text: str, root: str | None = None, states: States | None = None, asking: Asking | None = None) -> Found:
    """The cgroup that the containers of a pod have in common, likewise; no user's runtime is asked. Raises
    ``IsotraceError``.
    """
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise UsageError(f"--pod {_quoted(text)} is not NAMESPACE/NAME", "for example --pod default/web")
    states = states or _states(root)
    asking = asking or Asking(states.root, _in_pod(text))
    told = runtimes.records(states)
    every = containers(told)
    chosen = [one for one in every if str(one.pod) == text]
    if not _any_runs(chosen, every):
        every = containers([*told, *asking(0).told(states)])
        chosen = [one for one in every if str(one.pod) == text]
    known = _ids(every)
    if not chosen:
        raise _unknown(f"no pod is named {_quoted(text)}", text, (str(one.pod) for one in every if one.pod), states)
    running = [one for one in chosen if _may_run(one, known)]
    if not running:
        raise NotThere(f"no container of pod {_quoted(text)} is running", _START)
    found = {_above(_cgroup(one, known), one) for one in running}
    if len(found) > 1:
        raise IsotraceError(
            f"{_quoted(text)} may be {len(found)} pods",
            "give --cgroup and one of these",
            _listed(safe(str(path)) for path in sorted(found)),
        )
    return Found(found.pop(), tuple(states.troubles))


def _in_pod(text: str) -> Wanted:
    """Whether a record is of a container of that pod."""
    return lambda record: record.pod is not None and str(record.pod) == text


def _above(path: Path, one: Container) -> Path:
    """The pod's cgroup, above a container's. Raises ``IsotraceError``."""
    uid = one.pod.uid if one.pod else ""
    for above in path.parents:
        if (match := _POD.fullmatch(above.name)) and (not uid or match[1].replace("_", "-") == uid):
            return above
    raise IsotraceError(f"no cgroup above {safe(str(path))} is a pod's by its name", "give --container or --cgroup")


def _states(root: str | None) -> States:
    return States(checked(root))


def checked(root: str | None) -> Path:
    """Where all paths of runtimes are below. Raises ``IsotraceError``."""
    if root is not None and not Path(root).is_dir():
        raise IsotraceError(
            f"--container-root {_quoted(root)}: no such directory", "it is put before /var/lib and /run"
        )
    return Path(root or "/")


class Search:
    """A container, or a pod, that is looked for again and again. Made where its options are wrong it raises
    ``IsotraceError``.
    """

    def __init__(self, container_name: str | None, pod_name: str | None, root: str | None) -> None:
        self._container, self._pod, self._states = container_name, pod_name, Again(checked(root))
        wanted = _wanted(container_name or "") if pod_name is None else _in_pod(pod_name)
        self._asking = AskingAgain(self._states.root, wanted)

    def __call__(self) -> Found:
        """As ``container`` and ``pod``; sockets are waited for at the first time only. Raises ``IsotraceError``."""
        self._states.begin()
        try:
            if self._pod is not None:
                return pod(self._pod, states=self._states, asking=self._asking)
            return container(self._container or "", states=self._states, asking=self._asking)
        finally:
            self._asking.patient = False

    @property
    def places(self) -> dict[str, bool]:
        """Directories in which something may come that changes the answer; True where files in them may be written."""
        found = dict.fromkeys(self._states.looked, False)
        return found | cgroups.payload_places(self._container or "")


def _claims(one: Container) -> list[Record]:
    """What is said of its process, each with what others say of the same one."""
    found = [record for record in one.records if record.pid or record.payload]
    by_pid: dict[int, Record] = {}
    for record in found:
        if (first := by_pid.get(record.pid)) is None:
            by_pid[record.pid] = record
        else:
            by_pid[record.pid] = replace(
                first, started=first.started or record.started, cgroup=first.cgroup or record.cgroup
            )
    return list(by_pid.values())


def _resolve(one: Container, known: set[str]) -> Path:
    """Its cgroup. Raises ``NotRunning``, ``NotBelieved``."""
    found: set[Path] = set()
    ended, doubted = "", ""
    for record in _claims(one):
        try:
            found.add(cgroups.of(record, known))
        except NotRunning as error:
            ended = ended or str(error)
        except NotBelieved as error:
            doubted = doubted or str(error)
    if len(found) == 1:
        return found.pop()
    if found:
        raise NotBelieved(f"two cgroups may be its: {' and '.join(safe(str(path)) for path in sorted(found))}")
    if doubted:
        raise NotBelieved(doubted)
    raise NotRunning(ended or "it has no process")


def _may_run(one: Container, known: set[str]) -> bool:
    try:
        _resolve(one, known)
    except NotRunning:
        return False
    except NotBelieved:
        return True
    return True


def _cgroup(one: Container, known: set[str]) -> Path:
    """The same, with errors for the user."""
    try:
        return _resolve(one, known)
    except NotRunning as error:
        raise NotThere(f"{one} is not running: {error}", _START) from None
    except NotBelieved as error:
        hint = "--cgroup PATH, --tree PID and --pid PID name processes without a runtime"
        raise IsotraceError(f"{one}: {error}", hint) from None


def _calls(one: Container) -> tuple[str, ...]:
    """What a user may call it."""
    return one.names if cgroups.is_long(one.id) else (*one.names, one.id)


def _unknown(what: str, name: str, names: Iterable[str], states: States) -> NotThere:
    """That there is none of that name, with those that are near."""
    short = sorted({one for one in names if len(one) <= 256})
    close = difflib.get_close_matches(name[:256], short, 3)
    near = close or short[:_SHOWN]
    if near:
        hint = f"did you mean {' or '.join(map(_quoted, near))}?" if len(near) <= 3 else _there_are(near, len(short))
    elif states.troubles:
        hint = "make that readable, or be root"
    else:
        hint = f"no {_RUNTIMES} has any here; --container-root DIR where their directories are below another"
    found = NotThere(what, hint, _listed(f"not readable: {line}" for line in states.troubles))
    found.near = tuple(map(_quoted, close))
    return found


def _there_are(near: Sequence[str], count: int) -> str:
    more = f" and {count - len(near)} more" if count > len(near) else ""
    return f"there are {', '.join(map(_quoted, near))}{more}"


def _listed(lines: Iterable[str]) -> list[str]:
    every = list(lines)
    return [*every[:_SHOWN], *([f"and {len(every) - _SHOWN} more"] if len(every) > _SHOWN else [])]


def _quoted(text: str) -> str:
    """A name as one word of the line, whatever is in it."""
    cut = text if len(text) <= 256 else f"{text[:256]}..."
    return repr(cut)
