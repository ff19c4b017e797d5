"""One guest in QEMU, without KVM: its console into a file, its link to us, and a watch on whether it still
lives."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from . import cache
from .compiler import Compiler
from .errors import BenchError, UnavailableError
from .initramfs import initramfs, job_archive
from .link import Link
from .unpack import Artefacts
from .verdict import Ending

QEMU = "qemu-system-x86_64"
VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")
LINK = "/dev/ttyS1"
MEMORY = "2G"
#: cx16=off: under QEMU 7.2 cmpxchg16b makes 6.12 panic in a quarter of its boots. avx2=off: its masked loads
#: touch what the mask leaves out, so that numpy's sort of an array at the end of a mapping is a SIGSEGV.
CPU, CPU_CX16 = "max,cx16=off,avx2=off", "max,avx2=off"
MACHINE = f"-machine q35 -m {MEMORY} -nodefaults -display none -no-reboot"
ACCELERATOR = "-accel tcg,thread=multi"
#: For more than one processor: under multi-threaded emulation live patching of text (ftrace, kprobes, static keys) leaves
#: one of them spinning on a stale int3.
IN_TURN = "-accel tcg,thread=single"
#: The guest's clock counts instructions, one a nanosecond: for figures that do not depend on the machine.
COUNTING = "-accel tcg,thread=single -icount shift=0"
#: loglevel=5 lets warning splats through to the console; oops=panic ends a run that is not to be trusted any
#: more.
CMDLINE = "console=ttyS0 loglevel=5 oops=panic panic=-1 reboot=t tsc=reliable no_timer_check nokaslr audit=0"
UNMITIGATED = "mitigations=off nopti"

#: Set when the user has had enough: guests that run in threads end within a second.
INTERRUPTED = threading.Event()


@dataclass(frozen=True)
class Limits:
    """In seconds: until the guest is up, without a sign of life, without a test or output, and all in all."""

    boot: float = 180
    silence: float = 120
    stuck: float = 600
    total: float = 7200


@dataclass(frozen=True)
class Machine:
    """What differs between guests: ``append`` is added to the kernel's command line. ``cx16``: cmpxchg16b works, which
    libraries that are built for x86-64-v2 need, such as numpy 2.4.
    """

    append: str = ""
    processors: int = 1
    mitigations: bool = False
    accelerator: str = ""
    cx16: bool = False

    @property
    def options(self) -> list[str]:
        """QEMU's options."""
        accelerator = self.accelerator or (ACCELERATOR if self.processors == 1 else IN_TURN)
        cpu = CPU_CX16 if self.cx16 else CPU
        return [*accelerator.split(), *MACHINE.split(), "-cpu", cpu, "-smp", str(self.processors)]

    @property
    def cmdline(self) -> str:
        """The kernel's command line."""
        return " ".join(filter(None, (CMDLINE, "" if self.mitigations else UNMITIGATED, self.append)))


@dataclass(frozen=True)
class Boot:
    """A boot that is over."""

    ending: Ending
    console: str
    seconds: float


def boot(
    kernel: Artefacts,
    job: str,
    link: Link,
    of: Machine | None = None,
    limits: Limits | None = None,
) -> Boot:
    """Run the shell script ``job`` as root in a guest and follow it to its end. Raises ``BenchError`` if QEMU
    fails."""
    start = time.monotonic()
    with machine(kernel, job, of or Machine()) as (command, work):
        console, log = work / "console", work / "qemu.log"
        command += [
            "-serial",
            f"file:{console}",
            "-chardev",
            "stdio,id=link,signal=off",
            "-serial",
            "chardev:link",
        ]
        with log.open("wb") as stderr:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            qemu = subprocess.Popen(command, bufsize=0, stderr=stderr, **pipes)
        assert qemu.stdin
        compiler = Compiler(qemu.stdin.write)
        link.compile = compiler.ask
        try:
            ending = _follow(qemu, link, limits or Limits())
        finally:
            compiler.close()
            qemu.kill()
            qemu.wait()
        text = console.read_text(errors="replace") if console.exists() else ""
        if link.up is None and not text.strip() and ending is Ending.STOPPED:
            raise BenchError(
                f"QEMU failed: {_last_line(log)}", f"see {QEMU} --version; 7.2 and later are known to work"
            )
    return Boot(ending, text, time.monotonic() - start)


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]


def _follow(qemu: subprocess.Popen[bytes], link: Link, limits: Limits) -> Ending:
    assert qemu.stdout
    selector = selectors.DefaultSelector()
    selector.register(qemu.stdout, selectors.EVENT_READ)
    start = heard = told = time.monotonic()
    while not INTERRUPTED.is_set():
        if selector.select(1.0):
            data = os.read(qemu.stdout.fileno(), 65536)
            if not data:
                return Ending.STOPPED
            news = link.news
            link.feed(data)
            heard = time.monotonic()
            told = heard if link.news > news else told
        now = time.monotonic()
        if ending := _overdue(link.up is not None, now - start, now - heard, now - told, limits):
            return ending
    return Ending.INTERRUPTED


def _overdue(up: bool, total: float, silent: float, stuck: float, limits: Limits) -> Ending | None:
    """The limit that is passed, if one is; all in seconds."""
    checks = (
        (not up and total > limits.boot, Ending.NO_BOOT),
        (up and silent > limits.silence, Ending.SILENT),
        (up and stuck > limits.stuck, Ending.STUCK),
        (total > limits.total, Ending.OVERTIME),
    )
    return next((ending for passed, ending in checks if passed), None)


def shell(kernel: Artefacts, job: str, of: Machine) -> int:
    """Run ``job`` with the guest's console on this terminal (Ctrl-A X ends QEMU) and return QEMU's exit
    status."""
    with machine(kernel, job, of) as (command, _work):
        return subprocess.call([*command, "-serial", "mon:stdio"])


@contextmanager
def machine(kernel: Artefacts, job: str, of: Machine) -> Iterator[tuple[list[str], Path]]:
    """QEMU's command line without the serial ports, and a directory that lasts as long as the machine."""
    qemu = shutil.which(QEMU)
    if not qemu:
        raise UnavailableError("QEMU is missing", "apt-get install qemu-system-x86")
    base, root_type = initramfs(kernel)
    with tempfile.TemporaryDirectory(prefix="run-", dir=cache.place("runs")) as name:
        work = Path(name)
        initrd = work / "initrd"
        initrd.write_bytes(base.read_bytes() + job_archive(job))
        command = [qemu, *of.options, "-kernel", str(kernel.vmlinux), "-initrd", str(initrd), "-append", of.cmdline]
        with virtiofsd(work) if root_type == "virtiofs" else nullcontext():
            yield _die_with_us([*command, *root_options(root_type, work)]), work


def root_options(root_type: str, work: Path) -> list[str]:
    """What gives the guest the host's root directory, read-only, under the tag ``host``."""
    if root_type == "9p":
        share = "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
        return ["-fsdev", share, "-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]
    memory = f"memory-backend-memfd,id=memory,size={MEMORY},share=on"
    socket = f"socket,id=root,path={work / 'virtiofs'}"
    device = "vhost-user-fs-pci,chardev=root,tag=host"
    return ["-object", memory, "-numa", "node,memdev=memory", "-chardev", socket, "-device", device]


@contextmanager
def virtiofsd(work: Path) -> Iterator[None]:
    """The daemon that serves the host's root to kernels without 9p."""
    program = next(filter(os.path.exists, VIRTIOFSD), None)
    if not program:
        raise UnavailableError(
            "virtiofsd is missing", "apt-get install virtiofsd, or qemu-system-common before Debian 13"
        )
    if os.geteuid():
        raise UnavailableError("virtiofsd needs root", "run the bench as root")
    socket, log = work / "virtiofs", work / "virtiofsd.log"
    options = "source=/,cache=always,sandbox=chroot"
    with log.open("wb") as stderr:
        command = _die_with_us([program, f"--socket-path={socket}", "-o", options])
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
    try:
        deadline = time.monotonic() + 10
        while not socket.exists():
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"virtiofsd failed: {_last_line(log)}")
            time.sleep(0.01)
        yield
    finally:
        daemon.kill()
        daemon.wait()


def _die_with_us(command: list[str]) -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", *command] if setpriv else command
