"""What each runtime keeps of its containers, as records of one shape. A runtime is a function, a row in ``READERS``; what
Docker's API says on a socket has the same shape.

Paths and keys are the runtimes' own: Docker's config.v2.json, containers/storage (podman, CRI-O), containerd's task
directories, state.json of runc (libcontainer), status of crun, LXC's directories, systemd-machined's /run/systemd/machines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from isotrace.containers.states import States, digits, inside, number, parsed, words

_NAME = re.compile(r"[\w+.-]{1,1024}", re.ASCII)
_DRAWN = re.compile(r"[0-9a-f]{64}")
_CALLED = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)
_MACHINE = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Pod:
    """A pod of Kubernetes; ``uid`` is "" where the runtime does not tell."""

    namespace: str
    name: str
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Record:
    """What one file, or directory, says of a container.

    ``realm`` is where the id is one of a kind: ids that people choose may be there again in another. ``pid`` is its first
    process's, 0 where it does not tell or does not run; ``started`` when that began, in ticks since boot, 0 likewise.
    ``cgroup`` is its path, of runc with that of the mount, ``unit`` the name of a directory there that is the
    container's. ``payload`` are the paths its cgroup may have, where no process is named. ``low``: of a runtime that
    others have run what they manage. ``owner`` is the user whose runtime says it, 0 where it is root's.
    """

    runtime: str
    id: str
    realm: str = ""
    names: tuple[str, ...] = ()
    pod: Pod | None = None
    pid: int = 0
    started: int = 0
    cgroup: str = ""
    unit: str = ""
    payload: tuple[str, ...] = ()
    low: bool = False
    owner: int = 0


Reader = Callable[[States], Iterator[Record]]


def is_id(text: str) -> bool:
    """Whether it can be an id, and so a file's name: no path, no empty one."""
    return bool(_NAME.fullmatch(text)) and text not in (".", "..")


_KUBERNETES = tuple(f"io.kubernetes.pod.{word}" for word in ("namespace", "name", "uid"))
_CRI = tuple(f"io.kubernetes.cri.sandbox-{word}" for word in ("namespace", "name", "uid"))
_CRIO = ("io.kubernetes.cri-o.Namespace", "io.kubernetes.cri-o.KubeName", "io.kubernetes.pod.uid")
_CONTAINER = "io.kubernetes.container.name"


def _first(notes: list[Any], key: str) -> str:
    """The first text that one of these objects has under that key."""
    return next((found for data in notes if (found := words(data, key))), "")


def _pod(notes: list[Any], *keys: str) -> Pod | None:
    """The pod that they tell of under the keys of namespace, name and uid."""
    namespace, name, uid = (_first(notes, key) for key in keys)
    return Pod(namespace, name, uid) if namespace and name else None


def _in_pod(pod: Pod | None, name: str) -> tuple[str, ...]:
    """The names of a container of a pod: its own, which other pods may have as well, and that with the pod's."""
    if not name:
        return ()
    return (name, f"{pod}/{name}") if pod else (name,)


def docker(states: States) -> Iterator[Record]:
    elsewhere = words(states.json("/etc/docker/daemon.json"), "data-root")
    tops = ("/var/lib/docker", "/var/snap/docker/common/var-lib-docker", elsewhere if elsewhere.startswith("/") else "")
    for top in dict.fromkeys(f"{top}/containers" for top in tops if top):
        for id in filter(is_id, states.names(top)):
            data = states.json(file := f"{top}/{id}/config.v2.json")
            if data is None:
                continue
            if words(data, "ID") != id or not words(data, "Name"):
                states.doubt(file, "not what Docker writes there")
                continue
            labels = inside(data, "Config", "Labels")
            pod = _pod([labels], *_KUBERNETES)
            own = _in_pod(pod, _first([labels], _CONTAINER))
            pid = number(data, "State", "Pid") if inside(data, "State", "Running") is True else 0
            yield Record("docker", id, names=(words(data, "Name").removeprefix("/"), *own), pod=pod, pid=pid)


def storage(states: States) -> Iterator[Record]:
    """Of podman and CRI-O, which both keep containers by containers/storage."""
    seen: set[str] = set()
    for driver in ("overlay", "vfs", "btrfs", "zfs"):
        for top in (f"/var/lib/containers/storage/{driver}-containers", f"/run/containers/storage/{driver}-containers"):
            for file in (f"{top}/containers.json", f"{top}/volatile-containers.json"):
                listed = states.json(file)
                if listed is not None and not isinstance(listed, list):
                    states.doubt(file, "not a list of containers")
                for entry in listed if isinstance(listed, list) else ():
                    if not is_id(id := words(entry, "id")):
                        states.doubt(file, "an entry without an id")
                    elif id not in seen:
                        seen.add(id)
                        yield _stored(states, driver, id, entry)


def _stored(states: States, driver: str, id: str, entry: Any) -> Record:
    names = inside(entry, "names")
    names = tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
    kept, run = (f"{top}/containers/storage/{driver}-containers/{id}/userdata" for top in ("/var/lib", "/run"))
    spec = inside(states.json(f"{kept}/config.json"), "annotations")
    pid = digits(states.text(f"{run}/pidfile") or "")
    kind = words(spec, "io.kubernetes.cri-o.ContainerType")
    if not kind:
        return Record("podman", id, names=names, pid=pid)
    notes = [spec, parsed(words(spec, "io.kubernetes.cri-o.Labels"))]
    pod = _pod(notes, *_KUBERNETES) or _pod(notes, *_CRIO)
    own = _in_pod(pod, _first(notes, _CONTAINER)) if kind == "container" else ()
    return Record("cri-o", id, names=(*names, *own), pod=pod, pid=pid)


def containerd(states: States) -> Iterator[Record]:
    for base in ("/run/containerd", "/run/k3s/containerd", "/var/snap/microk8s/common/run/containerd"):
        top = f"{base}/io.containerd.runtime.v2.task"
        for space in filter(is_id, states.names(top)):
            for id in filter(is_id, states.names(f"{top}/{space}")):
                file = f"{top}/{space}/{id}"
                notes = [inside(states.json(f"{file}/config.json"), "annotations")]
                pod = _pod(notes, *_CRI)
                names = _in_pod(pod, _first(notes, "io.kubernetes.cri.container-name"))
                names += tuple(filter(None, (_first(notes, "nerdctl/name"),)))
                pid = digits(states.text(f"{file}/init.pid") or "")
                yield Record("containerd", id, f"containerd/{space}", names, pod, pid)


def runc(states: States) -> Iterator[Record]:
    """The low-level runtime: of its own containers, and of those that others have it run."""
    tops = [("/run/runc", "runc"), ("/run/docker/runtime-runc/moby", "containerd/moby")]
    spaces = filter(is_id, states.names("/run/containerd/runc"))
    for top, realm in (*tops, *((f"/run/containerd/runc/{space}", f"containerd/{space}") for space in spaces)):
        for id in filter(is_id, states.names(top)):
            file = f"{top}/{id}/state.json"
            if (data := states.json(file)) is None:
                continue
            if words(data, "id") != id:
                states.doubt(file, "not what runc writes there")
                continue
            pid, started = number(data, "init_process_pid"), number(data, "init_process_start")
            path = words(data, "cgroup_paths", "")
            yield Record("runc", id, realm, pid=pid, started=started, cgroup=path, low=True)


def crun(states: States) -> Iterator[Record]:
    top = "/run/crun"
    for id in filter(is_id, states.names(top)):
        data = states.json(file := f"{top}/{id}/status")
        if data is None:
            continue
        if not number(data, "pid"):
            states.doubt(file, "not what crun writes there")
            continue
        path = words(data, "cgroup-path")
        pid, started = number(data, "pid"), number(data, "process-start-time")
        yield Record("crun", id, "crun", pid=pid, started=started, cgroup=path, low=True)


def lxc(states: States) -> Iterator[Record]:
    """LXC tells no process in a file: a container is known by its directory, and runs where its cgroup has processes."""
    top = "/var/lib/lxc"
    for name in filter(is_id, states.names(top)):
        if states.exists(f"{top}/{name}/config"):
            yield Record("lxc", name, "lxc", payload=payload(name))


def payload(name: str) -> tuple[str, ...]:
    """The paths that the cgroup of a container of LXC may have."""
    return f"lxc.payload.{name}", f"lxc.payload/{name}", f"lxc/{name}"


def nspawn(states: States) -> Iterator[Record]:
    """Of systemd-machined, with whom systemd-nspawn registers; virtual machines are none of ours."""
    top = "/run/systemd/machines"
    for name in states.names(top):
        if not _MACHINE.fullmatch(name) or not is_id(name):  # unit:… are links to the same
            continue
        if (text := states.text(file := f"{top}/{name}")) is None:
            continue
        # A line ends at a newline and nothing else; backslashes are doubled.
        found = dict(line.partition("=")[::2] for line in text.split("\n"))
        if found.get("NAME") != name:
            states.doubt(file, "not what systemd-machined writes there")
        elif found.get("CLASS") == "container":
            unit = (found.get("SCOPE") or found.get("UNIT") or "").replace("\\\\", "\\")
            yield Record("systemd-nspawn", name, "nspawn", pid=digits(found.get("LEADER", "")), unit=unit)


def listed(runtime: str, owner: int, entry: Any) -> Record | None:
    """An entry of GET /containers/json of Docker's API; None for what is none. Kubernetes is root's."""
    id, called, labels = words(entry, "Id"), inside(entry, "Names"), inside(entry, "Labels")
    if not _DRAWN.fullmatch(id):
        return None
    own = [name.removeprefix("/") for name in called if isinstance(name, str)] if isinstance(called, list) else []
    names = tuple(name for name in own if _CALLED.fullmatch(name))
    pod = None if owner else _pod([labels], *_KUBERNETES)
    if pod:
        names += _in_pod(pod, _first([labels], _CONTAINER))
    return Record(runtime, id, names=names, pod=pod, owner=owner)


def may_have_process(entry: Any) -> bool:
    """Whether such an entry is of one that runs, or may."""
    return words(entry, "State") not in ("created", "exited", "dead")


def process_of(id: str, data: Any) -> int:
    """The first process by what GET /containers/ID/json says; 0 where it has none, or that is another container's."""
    return number(data, "State", "Pid") if words(data, "Id") == id and inside(data, "State", "Running") is True else 0


READERS: tuple[Reader, ...] = (docker, storage, containerd, lxc, nspawn, runc, crun)


def records(states: States) -> list[Record]:
    """What all runtimes say."""
    return [record for reader in READERS for record in reader(states)]
