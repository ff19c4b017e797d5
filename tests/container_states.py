"""Machines with containers, as files: what /proc, the cgroup file system and the runtimes' own directories say there."""

from __future__ import annotations

import json
import os
from pathlib import Path

IDS = [first + "3b5c7d9e1f" * 6 + "0a1" for first in "abcdef012"]
_TASK = "run/containerd/io.containerd.runtime.v2.task"
UID = "0f8fad5b-d9cb-469f-a165-70867728950e"


class Machine:
    """A directory with ``proc``, ``cgroup`` (version 2's mount) and ``root``, below which runtimes keep their files."""

    def __init__(self, directory: Path) -> None:
        self.proc, self.mount, self.root = directory / "proc", directory / "cgroup", directory / "root"
        for path in (self.proc / "self", self.mount, self.root):
            path.mkdir(parents=True)
        line = f"31 23 0:27 / {self.mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
        (self.proc / "self/mountinfo").write_text(f"23 1 8:1 / / rw - ext4 /dev/sda1 rw\n{line}\n")
        (self.proc / "self/cgroup").write_text("0::/user.slice/session-1.scope\n")

    def write(self, path: str, content: str) -> Path:
        """A file below the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def process(self, pid: int, cgroup: str, started: int = 5000, older: str = "", user: int = 0) -> Path:
        """A process in a cgroup, which is made, both of a user; ``older`` are lines of version 1. Returns the cgroup's
        directory.
        """
        place = self.proc / str(pid)
        place.mkdir(exist_ok=True)
        numbers = f"S 1 {pid} {pid} 0 -1 4194560 10 0 0 0 0 0 0 0 20 0 1 0 {started} 1000 100"
        (place / "stat").write_text(f"{pid} (a) b) {numbers}\n")
        (place / "cgroup").write_text(f"{older}0::{cgroup}\n")
        (place / "status").write_text(f"Name:\ta\nUid:\t{user}\t{user}\t{user}\t{user}\n")
        group = self.mount / cgroup.strip("/")
        group.mkdir(parents=True, exist_ok=True)
        if user and os.geteuid() == 0:
            os.chown(group, user, user)
        with (group / "cgroup.procs").open("a") as file:
            file.write(f"{pid}\n")
        (group / "cgroup.events").write_text("populated 1\nfrozen 0\n")
        return group

    def docker(self, id: str, name: str, pid: int = 0, labels: dict[str, str] | None = None) -> Path:
        state = {"Running": pid > 0, "Paused": False, "Restarting": False, "Pid": pid, "ExitCode": 0}
        state |= {"StartedAt": "2024-05-06T07:08:09.101112131Z", "FinishedAt": "0001-01-01T00:00:00Z"}
        config = {"Hostname": id[:12], "Image": "nginx", "Labels": labels or {}}
        kept = {"StreamConfig": {}, "State": state, "ID": id, "Managed": False, "Path": "nginx", "Config": config}
        return self.write(f"var/lib/docker/containers/{id}/config.v2.json", json.dumps(kept | {"Name": f"/{name}"}))

    def runc(self, id: str, pid: int, started: int = 5000, cgroup: str = "", top: str = "run/runc") -> Path:
        paths = {"": f"{self.mount}{cgroup}"} if cgroup else {"memory": "/sys/fs/cgroup/memory/x"}
        kept = {"id": id, "init_process_pid": pid, "init_process_start": started, "created": "2024-05-06T07:08:09Z"}
        kept |= {
            "config": {"rootfs": "/x", "cgroups": {}},
            "rootless": False,
            "cgroup_paths": paths,
            "intel_rdt_path": "",
        }
        return self.write(f"{top}/{id}/state.json", json.dumps(kept))

    def crun(self, id: str, pid: int, started: int = 5000, cgroup: str = "") -> Path:
        kept = {"pid": pid, "process-start-time": started, "cgroup-path": cgroup, "scope": "", "rootfs": "/x"}
        kept |= {"systemd-cgroup": False, "bundle": "/b", "created": "2024-05-06T07:08:09Z", "owner": "root"}
        return self.write(f"run/crun/{id}/status", json.dumps(kept | {"detached": True, "external_descriptors": "[]"}))

    def stored(self, containers: dict[str, str], file: str = "containers.json") -> Path:
        """Of podman and CRI-O: containers/storage's list, by id, with a name each."""
        listed = [{"id": id, "names": [name], "image": "0" * 64, "layer": "1" * 64} for id, name in containers.items()]
        return self.write(f"var/lib/containers/storage/overlay-containers/{file}", json.dumps(listed))

    def pidfile(self, id: str, pid: int) -> Path:
        return self.write(f"run/containers/storage/overlay-containers/{id}/userdata/pidfile", f"{pid}")

    def crio(self, id: str, pid: int, pod: tuple[str, str], name: str, kind: str = "container") -> Path:
        labels = {"io.kubernetes.container.name": name, "io.kubernetes.pod.uid": UID}
        labels |= {"io.kubernetes.pod.namespace": pod[0], "io.kubernetes.pod.name": pod[1]}
        notes = {"io.kubernetes.cri-o.ContainerID": id, "io.kubernetes.cri-o.ContainerType": kind}
        notes |= {"io.kubernetes.cri-o.Labels": json.dumps(labels)}
        self.pidfile(id, pid)
        path = f"var/lib/containers/storage/overlay-containers/{id}/userdata/config.json"
        return self.write(path, json.dumps({"ociVersion": "1.0.2", "annotations": notes}))

    def containerd(
        self,
        id: str,
        pid: int,
        pod: tuple[str, str] | None = None,
        name: str = "",
        space: str = "k8s.io",
        uid: str = UID,
    ) -> Path:
        notes = {"io.kubernetes.cri.container-type": "container" if name else "sandbox"}
        if pod:
            notes |= {"io.kubernetes.cri.sandbox-namespace": pod[0], "io.kubernetes.cri.sandbox-name": pod[1]}
            notes |= {"io.kubernetes.cri.sandbox-uid": uid} if uid else {}
        notes |= {"io.kubernetes.cri.container-name": name} if name else {}
        self.write(f"{_TASK}/{space}/{id}/init.pid", str(pid))
        return self.write(f"{_TASK}/{space}/{id}/config.json", json.dumps({"annotations": notes, "linux": {}}))

    def machine(self, name: str, leader: int, unit: str, kind: str = "container") -> Path:
        escaped = unit.replace("\\", "\\\\")
        text = f"# This is private data. Do not parse.\nNAME={name}\nSCOPE={escaped}\nSERVICE=systemd-nspawn\n"
        text += f"ROOT=/var/lib/machines/{name}\nLEADER={leader}\nCLASS={kind}\nREALTIME=1\nMONOTONIC=2\n"
        file = self.write(f"run/systemd/machines/{name}", text)
        file.with_name(f"unit:{unit}").symlink_to(name)
        return file
