"""The guest's initramfs: busybox, init.sh and just the modules that bring up its root; written here,
uncompressed."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from . import cache
from .errors import BenchError, UnavailableError
from .matrix import VM
from .stage import each
from .unpack import Artefacts, decompress

INIT = VM / "bench" / "init.sh"
MODULE_FILE = re.compile(r"(?P<name>.+)\.ko(\.(xz|zst|gz))?")
#: The modules that mount the host's root, by what it is mounted with, in order of preference.
ROOTS = {"9p": ("9p", "9pnet_virtio"), "virtiofs": ("virtiofs",)}
ALWAYS = ("virtio_pci", "overlay")
DIRECTORIES = ("bin", "dev", "lower", "modules", "new", "proc", "rw", "sys")
DEVICES = (("dev/console", 0o600, 5, 1), ("dev/null", 0o666, 1, 3))


@dataclass
class Cpio:
    """A cpio archive in the kernel's "newc" format."""

    data: bytearray = field(default_factory=bytearray)
    entries: int = 0

    def entry(self, name: str, mode: int, content: bytes = b"", major: int = 0, minor: int = 0) -> None:
        """Append one entry; ``mode`` is type and permissions, ``major`` and ``minor`` are a device's
        numbers."""
        self.entries += 1
        path = name.encode() + b"\0"
        numbers = (self.entries, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(path), 0)
        self.data += b"070701" + b"".join(b"%08X" % number for number in numbers) + path
        self.data += b"\0" * (-len(self.data) % 4) + content
        self.data += b"\0" * (-len(self.data) % 4)

    def file(self, name: str, content: bytes, mode: int = 0o755) -> None:
        """Append a regular file."""
        self.entry(name, 0o100000 | mode, content)

    def finish(self) -> bytes:
        """The whole archive, padded so that another can follow."""
        self.entry("TRAILER!!!", 0)
        return bytes(self.data) + b"\0" * (-len(self.data) % 512)


@dataclass(frozen=True)
class Modules:
    """A kernel's modules: which are files, and which are built in. Names are with ``_``."""

    files: dict[str, Path]
    builtin: frozenset[str]

    def has(self, name: str) -> bool:
        """Whether the kernel has it, either way."""
        return name in self.files or name in self.builtin

    def closure(self, wanted: tuple[str, ...]) -> dict[str, bytes]:
        """The files for ``wanted`` and for what they depend on, in the order in which they load."""
        loaded: dict[str, bytes] = {}
        for name in wanted:
            self._add(name, loaded)
        return loaded

    def _add(self, name: str, loaded: dict[str, bytes]) -> None:
        if name in loaded or name in self.builtin:
            return
        if name not in self.files:
            raise BenchError(
                f"the kernel has no module {name}", "see KEPT_MODULES in tests/vm/bench/unpack.py"
            )
        content = decompress(self.files[name].read_bytes())
        for dependency in depends(content):
            self._add(dependency, loaded)
        loaded[name] = content


def modules(path: Path) -> Modules:
    """The modules of the tree ``path``."""
    listed = path / "modules.builtin"
    lines = listed.read_text().split() if listed.exists() else []
    files = {match: file for file in path.rglob("*.ko*") if (match := module_name(file.name))}
    return Modules(files, frozenset(module_name(Path(line).name) for line in lines))


def module_name(file: str) -> str:
    """The name that the kernel uses for a module file, "" for another file."""
    match = MODULE_FILE.fullmatch(file)
    return match["name"].replace("-", "_") if match else ""


def depends(module: bytes) -> list[str]:
    """What a module's .modinfo section says that it depends on: no depmod needed."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name.replace("-", "_") for name in match[1].decode().split(",") if name] if match else []


def root_type(kernel_modules: Modules) -> str:
    """What this kernel can mount the host's root with (Debian's cloud kernels have no 9p)."""
    for kind, needed in ROOTS.items():
        if all(kernel_modules.has(name) for name in needed):
            return kind
    raise BenchError(
        "the kernel has neither 9p nor virtiofs", "choose another flavour in tests/vm/kernels.toml"
    )


def busybox() -> bytes:
    """The host's busybox, which has to be the static one."""
    path = shutil.which("busybox")
    content = Path(path).read_bytes() if path else b""
    if not content or b"/lib64/ld-linux-x86-64.so.2\0" in content:
        raise UnavailableError("no static busybox", "apt-get install busybox-static")
    return content


def initramfs(kernel: Artefacts) -> tuple[Path, str]:
    """The initramfs for ``kernel`` and its root's type. It is the same for every run: a job is appended to
    it."""
    found = modules(kernel.modules)
    kind = root_type(found)
    program, script = busybox(), INIT.read_bytes()
    key = hashlib.sha256(program + script + Path(__file__).read_bytes()).hexdigest()[:12]
    path = cache.place("initramfs") / f"{kernel.path.name}.{key}.cpio"
    if not path.exists():
        with cache.staged(path) as part:
            part.write_bytes(_archive(found.closure((*ALWAYS, *ROOTS[kind])), kind, program, script))
    return path, kind


def _archive(loaded: dict[str, bytes], kind: str, program: bytes, script: bytes) -> bytes:
    cpio = Cpio()
    for name in DIRECTORIES:
        cpio.entry(name, 0o40755)
    for name, mode, major, minor in DEVICES:
        cpio.entry(name, 0o20000 | mode, major=major, minor=minor)
    cpio.file("bin/busybox", program)
    cpio.file("init", script)
    cpio.file("root_type", f"{kind}\n".encode(), 0o644)
    for name, content in loaded.items():
        cpio.file(f"modules/{name}.ko", content, 0o644)
    cpio.file("modules/order", " ".join(loaded).encode(), 0o644)
    return cpio.finish()


def job_archive(script: str) -> bytes:
    """One run's job, a shell script, as an archive to append to an initramfs."""
    cpio = Cpio()
    cpio.file("job", script.encode())
    return cpio.finish()


if __name__ == "__main__":
    from .build import artefacts

    each(lambda kernel, say: say(" ".join(map(str, initramfs(artefacts(kernel, say))))))
