"""Containers that runc runs, without an image: of busybox alone, or of the host's programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from isotrace.kernel import procfs, programs

ROOT = Path(__file__).parents[1]
#: What the host's programs need of the host, read-only; the directories of this checkout and its interpreter besides.
_HOST = ("/bin", "/sbin", "/lib", "/lib64", "/usr", "/etc", "/boot", "/lib/modules")
#: Up to 5.10 BPF maps count as locked memory. The machine under the test may not have this one to give.
_HELD = int((procfs.read("self", "status") or b"").split(b"CapBnd:")[1].split()[0], 16)
_MEMORY = ("CAP_SYS_RESOURCE",) if _HELD >> 24 & 1 else ()


def _wants_admin() -> bool:
    """As Debian's kernels do for perf events, which isotrace attaches by where programs are preempted."""
    level = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    return level > 2 and programs.tracepoints_preemptible()


#: What isotrace takes at least, and what it uses of what ``--privileged`` gives.
FEW = ("CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", *_MEMORY, *(["CAP_SYS_ADMIN"] if _wants_admin() else []))
_MORE = ("DAC_OVERRIDE", "KILL", "NET_ADMIN", "SYSLOG", "SYS_ADMIN", "SYS_NICE")
PRIVILEGED = (*FEW, *(f"CAP_{name}" for name in _MORE))
#: The command of runc's that makes a container and starts it.
_RUN = ("run", "--detach")


def need() -> None:
    """Skip where no container can be made."""
    if not shutil.which("runc") or not shutil.which("busybox"):
        pytest.skip("needs runc and busybox: a container")
    if procfs.mounted("cgroup2") is None:
        pytest.skip("needs cgroup2: the unified hierarchy is not mounted")


def of_busybox(bundle: Path, script: str) -> dict[str, Any]:
    """A container that has nothing but busybox, and runs a script: its directory is made; its configuration."""
    programs = bundle / "rootfs/bin"
    programs.mkdir(parents=True)
    for name in ("busybox", "sh", "cat", "sleep"):
        shutil.copy(str(shutil.which("busybox")), programs / name)
    return _spec(bundle, ["/bin/sh", "-c", script])


def of_the_host(bundle: Path, script: str, shared: Path, capabilities: Sequence[str]) -> dict[str, Any]:
    """A container that has the host's programs, and this checkout, and runs a script in ``shared``, which it may write."""
    (bundle / "rootfs").mkdir(parents=True)
    config = _spec(bundle, ["/bin/sh", "-c", script])
    own = [ROOT, Path(sys.prefix).resolve(), Path(os.environ.get("HOME", "/root"), ".cache")]
    places = [Path(name) for name in _HOST] + [path for path in own if path.exists()]
    config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/sys/fs/cgroup"]
    config["mounts"] += [_bound(path, "ro") for path in places if path.exists() and not path.is_symlink()]
    (bundle / "rootfs/tmp").mkdir()
    for path in places:
        if path.is_symlink():
            (bundle / "rootfs" / path.name).symlink_to(path.readlink())
    writable = [shared, *([Path(os.environ["TMPDIR"])] if "TMPDIR" in os.environ else [])]
    config["mounts"] += [_bound(path, "rw") for path in writable]
    names = ("HOME", "TMPDIR", "ISOTRACE_COMPILER", "PATH")
    config["process"]["env"] = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    config["process"]["env"] += [f"PYTHONPATH={ROOT}", "PYTHONDONTWRITEBYTECODE=1", "ISOTRACE_CACHE=off"]
    config["process"]["cwd"] = str(shared)
    config["process"]["capabilities"] = {kind: [*capabilities] for kind in config["process"]["capabilities"]}
    return config


def _bound(path: Path, how: str) -> dict[str, Any]:
    return {"destination": str(path), "source": str(path), "type": "bind", "options": ["rbind", how]}


def _spec(bundle: Path, args: Sequence[str]) -> dict[str, Any]:
    subprocess.run(["runc", "spec", "--bundle", bundle], check=True)
    config: dict[str, Any] = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": [*args]}
    return config


def options(root: Path) -> tuple[str | Path, ...]:
    """Those of isotrace that name the container."""
    return "--container", "web", "--container-root", root


def group() -> str:
    """The cgroup that all of a test's are below."""
    return f"isotrace-test-{os.getpid()}"


@contextmanager
def of_a_script(path: Path, script: str) -> Iterator[Container]:
    """One of busybox alone that runs a script, removed at the end; skips where there can be none."""
    need()
    made = Container(path, path / "bundle", of_busybox(path / "bundle", script))
    try:
        yield made
    finally:
        made.close()


class Container:
    """One that runs, called ``web``; ``root`` has the runtime's directories, as / would.

    ``config`` is its configuration, and its cgroup, ``path``, is below one of the test's own. ``command`` of runc makes it.
    """

    def __init__(
        self, root: Path, bundle: Path, config: dict[str, Any], path: str = "web", command: Sequence[str] = _RUN
    ) -> None:
        self.root, self.options = root, options(root)
        self._groups = [Path(group(), above) for above in Path(path).parents]
        config["linux"]["cgroupsPath"] = f"/{group()}/{path}"
        (bundle / "config.json").write_text(json.dumps(config))
        done = self.runc(*command, "--bundle", str(bundle), "web")
        if done.returncode:
            self.close()
            raise AssertionError(f"runc could not run the container: {(self.root / 'runc.log').read_text()}")

    def runc(self, *words: str, seconds: float | None = None) -> subprocess.CompletedProcess[bytes]:
        """A command of runc's; what it runs in the container keeps no pipe of the test's open."""
        nowhere = subprocess.DEVNULL
        command = ["runc", "--root", self.root / "run/runc", "--log", self.root / "runc.log", *words]
        return subprocess.run(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, timeout=seconds)

    def close(self) -> None:
        """End it, and remove what was made for it."""
        self.runc("delete", "--force", "web")
        for mount in procfs.mounts():
            if mount.kind in ("cgroup", "cgroup2"):
                for group in self._groups:
                    with suppress(FileNotFoundError):
                        Path(mount.point, group).rmdir()
