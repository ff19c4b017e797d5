"""BCC: the one file that imports it.

Compiling takes LLVM, some 90 MB of resident memory and a third of a second. A child process does it while the parent
goes on, passes the program and map descriptors back over a socket, and ends. No kernel headers are read: bpf/include
is all that the programs and BCC's own helpers need, and kernel offsets come as constants from BTF.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import socket
import sys
import tempfile
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from isotrace import nursery
from isotrace.errors import IsotraceError, KernelError

_PACKAGED = Path(__file__).parent.parent / "_bpf"
SOURCES = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "bpf"

_INSTALL = {
    "debian": "apt-get install python3-bpfcc",
    "ubuntu": "apt-get install python3-bpfcc",
    "fedora": "dnf install python3-bcc",
    "rhel": "dnf install python3-bcc",
    "arch": "pacman -S python-bcc",
    "suse": "zypper install python3-bcc",
    "alpine": "apk add py3-bcc",
}
_SYSTEM_PACKAGES = (
    "/usr/lib/python3/dist-packages",
    f"/usr/lib/python3.{sys.version_info.minor}/site-packages",
    f"/usr/lib64/python3.{sys.version_info.minor}/site-packages",
)


@dataclass(frozen=True)
class Loaded:
    """Descriptors of loaded programs and created maps, by name. The caller closes them."""

    programs: Mapping[str, int]
    maps: Mapping[str, int]

    def close(self) -> None:
        """Close every descriptor."""
        for fd in (*self.programs.values(), *self.maps.values()):
            os.close(fd)


def install_hint(os_release: str | None = None) -> str:
    """The command that installs BCC here, from the text of /etc/os-release."""
    if os_release is None:
        try:
            os_release = Path("/etc/os-release").read_text()
        except OSError:
            os_release = ""
    names = re.findall(r"^ID(?:_LIKE)?=(.*)$", os_release, re.MULTILINE)
    for name in " ".join(names).replace('"', "").split():
        if name in _INSTALL:
            return f"as root: {_INSTALL[name]}"
    return "install python3-bpfcc (Debian, Ubuntu), python3-bcc (Fedora, RHEL) or python-bcc (Arch)"


def import_bcc() -> Any:
    """BCC's module, also from the system's packages when this is a virtual environment. Raises ``KernelError``.

    The package called "bcc" on PyPI is an unrelated library: it is recognised and passed over.
    """
    for path in ("", *_SYSTEM_PACKAGES):
        if path:
            sys.path.insert(0, path)
        sys.modules.pop("bcc", None)
        try:
            import bcc

            if hasattr(bcc, "BPF"):
                return bcc
        except ImportError:
            continue
    raise KernelError("BCC's Python module is not installed", install_hint())


def expand(name: str, seen: frozenset[str] = frozenset()) -> str:
    """The text of ``bpf/NAME`` with its ``#include "…"`` lines replaced: BCC rewrites map accesses in one file only."""
    lines = []
    for number, line in enumerate((SOURCES / name).read_text().splitlines(), 1):
        match = re.match(r'#include "(.*)"', line)
        if not match:
            lines.append(line)
        elif match[1] not in seen:
            seen |= {match[1]}
            lines += [f'#line 1 "{match[1]}"', expand(match[1], seen), f'#line {number + 1} "{name}"']
    return "\n".join(lines)


def only(text: str, programs: Container[str]) -> str:
    """The source with every program that is not among ``programs`` static: the compiler drops it, in half the time."""
    return re.sub(
        r"^int (?=(\w+)\(struct \w+ \*ctx\)$)",
        lambda m: "int " if m[1] in programs else "static int ",
        text,
        flags=re.M,
    )


class Loader:
    """A child process that imports BCC at once, then compiles what it is asked to."""

    def __init__(self) -> None:
        """Fork the child, here or in the nursery in use. Do it before anything large is imported, and before any thread
        is started if there is no nursery: it works while the parent goes on.
        """
        self._wanted: list[str] = []
        self._programs = 0
        self._pid = 0
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the load
        with theirs:
            if (found := nursery.current()) is not None:
                found.bear(f"{__name__}:serve", (theirs.fileno(), self._messages.fileno()))
                return
            self._pid = os.fork()
            if self._pid == 0:
                self._socket.close()
                _serve(theirs, self._messages.fileno())

    def start(
        self, source: str, constants: Sequence[str], programs: Mapping[str, str], maps: Sequence[str], ending: str = ""
    ) -> None:
        """Compile ``bpf/SOURCE``, ``ending`` appended, with ``-D`` each of ``constants``; ``result`` waits for it.

        ``programs`` are functions of the source with their types, as ``bcc.BPF`` names them: RAW_TRACEPOINT, KPROBE, …;
        BCC tells from the name what a program of type LSM (``lsm__HOOK``) or TRACING (``kmod_ret__FUNCTION``) is for.
        """
        self._wanted, self._programs = [*programs, *maps], len(programs)
        request = {"source": source, "constants": [*constants], "programs": dict(programs), "maps": [*maps]}
        request["ending"] = ending
        self._socket.sendall(json.dumps(request).encode())
        self._socket.shutdown(socket.SHUT_WR)

    def result(self) -> Loaded:
        """The descriptors. Raises ``KernelError`` (no BCC, refused by the kernel) or ``IsotraceError``."""
        try:
            head, fds, _flags, _address = socket.recv_fds(self._socket, 65536, len(self._wanted))
        finally:
            self.close()
        with self._messages as log:
            log.seek(0)
            said = log.read().decode(errors="replace")
        if len(fds) != len(self._wanted):
            raise _explain(head, said)
        found = list(zip(self._wanted, fds, strict=True))
        return Loaded(dict(found[: self._programs]), dict(found[self._programs :]))

    def close(self) -> None:
        """End the child; without a request it ends by itself."""
        self._socket.close()
        if self._pid:
            os.waitpid(self._pid, 0)
            self._pid = 0


def _explain(head: bytes, said: str) -> IsotraceError:
    try:
        answer = json.loads(head)
    except ValueError:
        return IsotraceError("the BPF compiler ended without an answer", "free some memory; isotrace doctor tells more")
    if answer["kind"] == "import":
        return KernelError(answer["message"], answer["hint"])
    lines = [line for line in (answer["message"] + "\n" + said).splitlines() if line.strip()]
    if "Operation not permitted" in said or "EPERM" in said:
        return KernelError("the kernel does not let this user load BPF programs", "run as root; see: isotrace doctor")
    errors = [line for line in lines[1:] if "error:" in line] or lines[-1:]
    return KernelError(f"cannot load the BPF programs: {lines[0]}", errors[0])


def serve(answer: int, log: int) -> NoReturn:
    """What a child of the nursery does; the descriptors are a socket and a file."""
    _serve(socket.socket(fileno=answer), log)


def _serve(answer: socket.socket, log: int) -> NoReturn:
    """The child: import, read the request, compile, load, send the descriptors; never returns."""
    status = 1
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        bcc = import_bcc()
        with answer.makefile("rb") as questions:
            request = questions.read()
        if request:
            socket.send_fds(answer, [b"{}"], _load(bcc, **json.loads(request)))
        status = 0
    except KernelError as error:
        _say(answer, "import", error.message, error.hint)
    except BaseException as error:  # whatever happened is the parent's to report
        _say(answer, "load", str(error), "")
    finally:
        os._exit(status)


def _say(answer: socket.socket, kind: str, message: str, hint: str) -> None:
    with contextlib.suppress(OSError):
        answer.send(json.dumps({"kind": kind, "message": message, "hint": hint}).encode())


def _load(
    bcc: Any,
    source: str,
    constants: Sequence[str],
    programs: Mapping[str, str],
    maps: Sequence[str],
    ending: str,
) -> list[int]:
    # Until 5.11 (commit 80ee81e0403c) map memory counts against RLIMIT_MEMLOCK.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    os.environ["BCC_KERNEL_SOURCE"] = str(SOURCES / "include")
    flags = [f"-D{constant}" for constant in constants]
    bcc.BPF._trace_autoload = lambda _module: None  # BCC would attach by name, before the maps have content
    text = only(expand(source), programs) + ending
    module = bcc.BPF(text=text.encode(), cflags=[*flags, "-Wno-unused-function", "-g0"])
    fds = [module.load_func(name.encode(), getattr(bcc.BPF, kind)).fd for name, kind in programs.items()]
    return fds + [bcc.lib.bpf_table_fd(module.module, name.encode()) for name in maps]
