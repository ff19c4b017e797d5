"""Programs from their sources, by way of BCC.

Compiling takes LLVM, some 90 MB of resident memory and a second. A child process does it while the parent goes on,
and ends. What it compiled is kept (cache.py), and next time no child and no BCC is needed. No kernel headers are read:
bpf/include is all that the programs and BCC's own helpers need, and kernel offsets come as constants from BTF. So the
programs may be compiled on another machine: ISOTRACE_COMPILER names a command that is run instead of BCC (serve.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import re
import shlex
import socket
import tempfile
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from isotrace.backends import cache, compiled
from isotrace.backends.compiled import Compiled, MapDefinition
from isotrace.errors import IsotraceError, KernelError
from isotrace.kernel import bpf
from isotrace.kernel.bcc import load_bcc
from isotrace.process import children, forkserver

_COMPILER = "ISOTRACE_COMPILER"
_LOG = logging.getLogger(__package__)
_PACKAGED = Path(__file__).parent.parent / "_bpf"
SOURCES = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "bpf"


@dataclass(frozen=True)
class Loaded:
    """Descriptors of loaded programs and created maps, by name. The caller closes them."""

    programs: Mapping[str, int]
    maps: Mapping[str, int]

    def close(self) -> None:
        """Close every descriptor."""
        for fd in (*self.programs.values(), *self.maps.values()):
            os.close(fd)


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
    """Compiles what it is asked to, or finds it compiled; on the way a child process that imports BCC."""

    def __init__(self) -> None:
        """Where nothing is kept yet, fork the child, here or in the fork server in use.

        Do it before anything large is imported (it works meanwhile), and before any thread is started if there is no
        fork server.
        """
        self._request: dict[str, Any] = {}
        self._key = ""
        self._parameters: dict[str, int] = {}
        self._began = 0.0
        self._kept: Compiled | None = None
        self._pid = 0
        self._forked = False
        if not cache.is_warm():
            self._fork()

    def _fork(self) -> None:
        self._forked = True
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the load
        with theirs:
            if (found := forkserver.current()) is not None:
                found.spawn(f"{__name__}:serve", (theirs.fileno(), self._messages.fileno()))
                return
            self._pid = children.fork()
            if self._pid == 0:
                self._socket.close()
                _serve(theirs, self._messages.fileno())

    def start(
        self, source: str, constants: Sequence[str], programs: Mapping[str, str], maps: Sequence[str], ending: str = ""
    ) -> None:
        """Compile ``bpf/SOURCE``, ``ending`` appended, with ``-D`` each of ``constants``; ``result`` waits for it.

        ``programs`` are functions of the source with their types, as ``bcc.BPF`` names them: RAW_TRACEPOINT, KPROBE, …;
        the name of one of type LSM (``lsm__HOOK``) or TRACING (``kmod_ret__``, ``kfunc__``, ``kretfunc__FUNCTION``) says
        what it is for.
        """
        constants, self._parameters = open_constants(constants)
        request: dict[str, Any] = {"source": source, "constants": constants, "programs": dict(programs)}
        request |= {"maps": [*maps], "ending": ending}
        self._request, self._key = request, key(request)
        self._kept, self._began = cache.read(self._key), time.monotonic()
        _LOG.debug("%s: constants %s", source, " ".join(constants))
        _LOG.debug("%s: constants set when it is loaded: %s", source, self._parameters)
        if self._kept is None:
            by = f"{_COMPILER}={os.environ[_COMPILER]!r}" if os.environ.get(_COMPILER) else "BCC"
            _LOG.debug("%s: not in the cache (%s): %s compiles it", source, cache.place(self._key), by)
            self._ask()
        else:
            _LOG.debug("%s: from the cache, %s", source, cache.place(self._key))

    def _ask(self) -> None:
        if not self._forked:
            self._fork()
        with contextlib.suppress(BrokenPipeError):  # a child that ended already has said why
            self._socket.sendall(json.dumps(self._request).encode())
            self._socket.shutdown(socket.SHUT_WR)

    def result(self) -> Loaded:
        """The descriptors. Raises ``KernelError`` (no BCC, refused by the kernel) or ``IsotraceError``."""
        found = self._kept
        self._kept = None
        try:
            if found is None:
                found = _understood(self._answer(), self._said(), self._request)
                took, kept = time.monotonic() - self._began, cache.write(self._key, found)
                what = f"cached as {cache.place(self._key)}" if kept else "not cached"
                _LOG.debug("%s: compiled after %.2f s, %s", self._request["source"], took, what)
        finally:
            self.close()
        return Loaded(*compiled.load(found, self._request["programs"], self._parameters, self._request["maps"]))

    def _answer(self) -> bytes:
        parts = []
        with contextlib.suppress(ConnectionResetError):  # the child ended without reading what it was asked
            while part := self._socket.recv(1 << 20):
                parts.append(part)
        return b"".join(parts)

    def _said(self) -> str:
        self._messages.seek(0)
        return self._messages.read().decode(errors="replace")

    def close(self) -> None:
        """End the child; without a request it ends by itself."""
        if self._forked:
            self._socket.close()
            self._messages.close()
            self._forked = False
        if self._pid:
            os.waitpid(self._pid, 0)
            self._pid = 0


def open_constants(constants: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """The constants with those of ``compiled.PARAMETERS`` left open, and the values of these."""
    found, values = [], {}
    for constant in constants:
        name, _, value = constant.partition("=")
        if name in compiled.PARAMETERS:
            values[name] = int(value.rstrip("UL"), 0)
            constant = f"{name}=PARAMETER({compiled.PARAMETERS.index(name):02x})"
        found.append(constant)
    return found, values


def key(request: Mapping[str, Any]) -> str:
    """The name under which what ``request`` asks for is kept (cache.py)."""
    text = expand(request["source"]) + request["ending"]
    headers = (path for path in (SOURCES / "include").rglob("*.h"))
    return cache.key(text, headers, request)


def _understood(head: bytes, said: str, request: Mapping[str, Any]) -> Compiled:
    try:
        answer = json.loads(head)
        if answer["kind"] == "compiled":
            found = Compiled.of(answer)
            if request["programs"].keys() <= found.programs.keys() and {*request["maps"]} <= {
                m.name for m in found.maps
            }:
                return found
    except (ValueError, LookupError, TypeError):
        pass
    raise _explain(head, said)


def _explain(head: bytes, said: str) -> IsotraceError:
    try:
        answer = {name: str(value) for name, value in json.loads(head).items() if name in ("kind", "message", "hint")}
    except (ValueError, AttributeError):
        answer = {}
    if len(answer) < 3:
        return IsotraceError("the BPF compiler ended without an answer", "free some memory; isotrace doctor tells more")
    if answer["kind"] == "import":
        return KernelError(answer["message"], answer["hint"])
    lines = [line for line in (answer["message"] + "\n" + said).splitlines() if line.strip()]
    if "Operation not permitted" in said or "EPERM" in said:
        return compiled.not_permitted()
    errors = [line for line in lines[1:] if "error:" in line] or lines[-1:]
    return KernelError(f"cannot load the BPF programs: {lines[0]}", errors[0])


def serve(answer: int, log: int) -> NoReturn:
    """What a child of the fork server does; the descriptors are a socket and a file."""
    _serve(socket.socket(fileno=answer), log)


def _serve(stream: socket.socket, log: int) -> NoReturn:
    """The child: compile what is asked for, or become the command that does; never returns."""
    status = 1
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        if command := os.environ.get(_COMPILER, ""):
            _become(command, stream)
        answer(stream.makefile("rb"), stream.makefile("wb"))
        status = 0
    finally:
        os._exit(status)


def _become(command: str, stream: socket.socket) -> NoReturn:
    os.dup2(stream.fileno(), 0)
    os.dup2(stream.fileno(), 1)
    try:
        words = shlex.split(command)
        os.execvp(words[0], words)
    except (OSError, ValueError, IndexError) as error:
        _say(
            stream.makefile("wb"),
            "import",
            f"cannot run {_COMPILER}={command!r}: {error}",
            "name a command that exists",
        )
        os._exit(1)


def answer(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Import BCC, read a request, write what it compiles to, or why it does not; nothing where nothing is asked."""
    try:
        bcc = load_bcc()
        if request := questions.read():
            answers.write(_compile(bcc, **json.loads(request)).to_bytes())
            answers.flush()
    except KernelError as error:
        _say(answers, "import", error.message, error.hint)
    except BaseException as error:  # whatever happened is the other side's to report
        _say(answers, "load", str(error), "")


def _say(answers: IO[bytes], kind: str, message: str, hint: str) -> None:
    with contextlib.suppress(OSError):
        answers.write(json.dumps({"kind": kind, "message": message, "hint": hint}).encode())
        answers.flush()


def _module(bcc: Any, source: str, constants: Sequence[str], programs: Container[str], ending: str) -> Any:
    compiled.unlimit_memory()
    os.environ["BCC_KERNEL_SOURCE"] = str(SOURCES / "include")
    flags = [f"-D{constant}" for constant in constants]
    bcc.BPF._trace_autoload = lambda _module: None  # BCC would attach by name, before the maps have content
    return bcc.BPF(
        text=(only(expand(source), programs) + ending).encode(),
        cflags=[*flags, "-Wno-unused-function", "-Werror=int-conversion", "-g0"],
    )


def _compile(
    bcc: Any, source: str, constants: Sequence[str], programs: Mapping[str, str], maps: Sequence[str], ending: str
) -> Compiled:
    """The instructions as BCC made them, and its maps as the kernel describes them."""
    module = _module(bcc, source, constants, programs, ending)
    tables = _tables(bcc.lib, module.module)
    found = {name: compiled.relocatable(module.dump_func(name.encode()), [fd for _, fd in tables]) for name in programs}
    return Compiled(found, tuple(MapDefinition(name, *bpf.map_info(fd)) for name, fd in tables))


def _tables(library: Any, module: int) -> list[tuple[str, int]]:
    """Name and descriptor of every map. BCC's Python module does not declare these functions (bcc_common.h)."""
    count, name, descriptor = library.bpf_num_tables, library.bpf_table_name, library.bpf_table_fd_id
    count.argtypes, count.restype = [ctypes.c_void_p], ctypes.c_size_t
    name.argtypes, name.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_char_p
    descriptor.argtypes, descriptor.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_int
    return [(name(module, number).decode(), descriptor(module, number)) for number in range(count(module))]
