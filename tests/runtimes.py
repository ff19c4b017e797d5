"""Containers that real runtimes run without an image or a registry: podman, crun, LXC, below a directory of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import runc
from tracer import until

from isotrace.kernel import procfs

_LOOP = "#!/bin/sh\nwhile :; do cat /x/inside 2>/dev/null; sleep 0.2; done\n"
#: In a mount namespace in which version 2 is all that there is of cgroups: crun runs nothing where both are mounted.
_UNIFIED = 'umount --recursive /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'
_V2 = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _UNIFIED, "sh")
#: Without raised limits, which not every root may set.
_PODMAN = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
"""


def name() -> str:
    """What the test's container is called: LXC's cgroup is named so, and the machine may have others."""
    return runc.group()


class Runtime:
    """One that runs a container; ``root`` has its directories, as / would. ``sibling`` runs a command in the container."""

    def __init__(self, root: Path) -> None:
        self.root, self.rootfs = root, root / "rootfs"
        programs = self.rootfs / "bin"
        programs.mkdir(parents=True)
        for directory in ("proc", "sys", "dev", "etc", "run", "tmp"):
            (self.rootfs / directory).mkdir()
        for program in ("busybox", "sh", "cat", "sleep"):
            shutil.copy(str(shutil.which("busybox")), programs / program)
        (programs / "loop").write_text(_LOOP)
        (programs / "loop").chmod(0o755)

    def command(self, *words: str | Path) -> list[str]:
        """A command of the runtime's."""
        raise NotImplementedError

    def run(self, *words: str | Path, check: bool = True) -> None:
        """Run one; what it starts keeps no pipe of the test's open."""
        log = self.root / "runtime.log"
        with log.open("w") as output:
            command = self.command(*words)
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=120)
        assert not check or not done.returncode, f"{command}: {log.read_text()}"


class Podman(Runtime):
    """podman, which has runc run it: that needs no cgroups of version 2 alone."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (root / "containers.conf").write_text(_PODMAN)

    def command(self, *words: str | Path) -> list[str]:
        top = self.root
        where = ("--root", top / "var/lib/containers/storage", "--runroot", top / "run/containers/storage")
        low = ("--tmpdir", top / "run/libpod", "--runtime", "runc", "--runtime-flag", f"root={top}/run/runc")
        return [*map(str, ("env", f"CONTAINERS_CONF={top}/containers.conf", "podman", *where, *low, *words))]

    def start(self) -> None:
        options = ("--detach", "--network", "none", "--privileged", "--cgroup-parent", f"/{runc.group()}")
        self.run("run", *options, "--name", name(), "--rootfs", self.rootfs, "/bin/loop")

    def sibling(self, *words: str) -> None:
        self.run("exec", name(), *words, check=False)

    def close(self) -> None:
        """Also when what podman has clean up behind it has ended."""
        found = self.root.glob("run/containers/storage/*-containers/*/userdata/conmon.pid")
        monitors = [int(path.read_text()) for path in found]
        self.run("rm", "--force", "--time", "0", name(), check=False)
        until(lambda: not any(map(_lives, monitors)), "podman has ended")
        for mount in procfs.mounts():
            if Path(mount.point).is_relative_to(self.root):
                subprocess.run(["umount", mount.point], check=True)

    @contextmanager
    def serving(self, root: Path) -> Iterator[None]:
        """With its socket below another root, where nothing else is."""
        path = root / "run/podman/podman.sock"
        path.parent.mkdir(parents=True)
        nowhere = subprocess.DEVNULL
        command = self.command("system", "service", "--time", "0", f"unix://{path}")
        service = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere)
        try:
            until(lambda: path.exists() or service.poll() is not None, "podman listens")
            yield
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)


class Crun(Runtime):
    def command(self, *words: str | Path) -> list[str]:
        return [*map(str, (*_V2, "crun", "--root", self.root / "run/crun", "--cgroup-manager=cgroupfs", *words))]

    def start(self) -> None:
        config = runc._spec(self.root, ["/bin/loop"])
        config["process"]["rlimits"] = []
        config["linux"] |= {"cgroupsPath": f"/{runc.group()}/{name()}", "resources": {}}
        (self.root / "config.json").write_text(json.dumps(config))
        self.run("run", "--detach", "--bundle", self.root, name())

    def sibling(self, *words: str) -> None:
        self.run("exec", name(), *words, check=False)

    def close(self) -> None:
        self.run("delete", "--force", name(), check=False)


class Lxc(Runtime):
    def command(self, *words: str | Path) -> list[str]:
        top = self.root / "var/lib/lxc"
        return [*map(str, (words[0], "-P", top, "-n", name(), *words[1:]))]

    def start(self) -> None:
        kept = self.root / "var/lib/lxc" / name()
        kept.mkdir(parents=True)
        options = {"uts.name": name(), "rootfs.path": f"dir:{self.rootfs}", "net.0.type": "none", "mount.auto": "proc"}
        options |= {"apparmor.profile": "unconfined", "init.cmd": "/bin/loop"}
        (kept / "config").write_text("".join(f"lxc.{key} = {value}\n" for key, value in options.items()))
        self.run("lxc-start", "-d")

    def sibling(self, *words: str) -> None:
        self.run("lxc-attach", "--", *words, check=False)

    def close(self) -> None:
        self.run("lxc-stop", "-k", check=False)


RUNTIMES: dict[str, Callable[[Path], Podman | Crun | Lxc]] = {"podman": Podman, "crun": Crun, "lxc": Lxc}
_NEEDS = {
    "podman": ("podman", "conmon", "runc"),
    "crun": ("crun", "runc", "unshare"),
    "lxc": ("lxc-start", "lxc-attach"),
}


@contextmanager
def running(kind: str) -> Iterator[Podman | Crun | Lxc]:
    """A container that runs; skips where the runtime is not installed. Nothing of it is left."""
    missing = [program for program in (*_NEEDS[kind], "busybox") if not shutil.which(program)]
    if missing:
        pytest.skip(f"needs {kind}: {' and '.join(missing)} not installed")
    mount = procfs.mounted("cgroup2")
    if mount is None:
        pytest.skip("needs cgroup2: the unified hierarchy is not mounted")
    if kind == "podman" and mount == "/sys/fs/cgroup" and procfs.cgroup(procfs.read("self", "cgroup") or b"") == b"/":
        pytest.skip("needs podman in a cgroup: in the root cgroup it moves all of the machine's processes to another")
    before, enabled = _groups(), Path(mount, "cgroup.subtree_control")
    controllers = set(enabled.read_text().split())
    with TemporaryDirectory(prefix="isotrace-", dir="/tmp") as root:  # podman takes no long path
        made = RUNTIMES[kind](Path(root))
        try:
            made.start()
            yield made
        finally:
            made.close()
            until(lambda: not _removed(_groups() - before), "what it has made of cgroups is gone")
            for controller in set(enabled.read_text().split()) - controllers:  # crun enables all
                enabled.write_text(f"-{controller}")


def _lives(pid: int) -> bool:
    process = procfs.stat(procfs.read(pid, "stat") or b"")
    return process is not None and process.lives


def _groups() -> set[Path]:
    """What a runtime may make at the top of each hierarchy."""
    tops = [Path(mount.point) for mount in procfs.mounts() if mount.kind in ("cgroup", "cgroup2")]
    names = (runc.group(), "lxc.pivot", f"lxc.payload.{name()}", f"lxc.monitor.{name()}")
    return {top / below for top in tops for below in names if (top / below).exists()}


def _removed(groups: Sequence[Path] | set[Path]) -> list[Path]:
    """Those that are left: of a process that has not quite ended."""
    for group in groups:
        for path, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                os.rmdir(path)
    return [group for group in groups if group.exists()]
