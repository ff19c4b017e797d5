"""Compiled programs as bytes that can be kept, and loading them: no compiler is needed for that.

What differs from one run to the next is left open in the instructions: descriptors of maps, and the values of
``PARAMETERS``, which the source reads through ``PARAMETER(n)`` of bpf/filter.h: a constant that the compiler cannot see.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import logging
import os
import resource
import struct
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from isotrace.errors import KernelError
from isotrace.kernel import bpf, btf
from isotrace.kernel.answer import verifier_reason

_LOG = logging.getLogger(__package__)
#: The ``enum bpf_map_type`` values that isotrace's programs use, as the kernel spells them.
_MAP_KINDS = {
    **{
        1: "hash",
        2: "array",
        3: "prog_array",
        5: "percpu_hash",
        6: "percpu_array",
        9: "lru_hash",
        10: "lru_percpu_hash",
    },
    **{11: "lpm_trie", 27: "ringbuf"},
}

#: Constants of the programs that are filled in when they are loaded: what is compiled serves every process and target.
PARAMETERS = (
    "SELF",
    "FILTER_PID",
    "FILTER_PPID",
    "FILTER_UID",
    "FILTER_COMM_0",
    "FILTER_COMM_1",
    "FILTER_CGROUP",
    "PID_NS",
    "PID_LEVEL",
)

#: Program types by bcc.BPF's names. Those of the last two are bound to a function of the kernel when they are loaded.
KINDS = {"KPROBE": 2, "TRACEPOINT": 5, "RAW_TRACEPOINT": 17, "TRACING": 26, "LSM": 29}

#: How the name of a bound program begins: the ``enum bpf_attach_type`` value, and how its function's name begins.
_BOUND = {"lsm__": (27, "bpf_lsm_"), "kmod_ret__": (26, ""), "kfunc__": (24, ""), "kretfunc__": (25, "")}

_LOAD_CONSTANT = 0x18  # BPF_LD | BPF_IMM | BPF_DW: two instructions, the second with the upper half
_MAP_FD = 1  # BPF_PSEUDO_MAP_FD
_CALL, _SUBPROGRAM = 0x85, 1
_TAG = 0x69736F7472000000  # PARAMETER_TAG of bpf/filter.h
_SIZE = 8
_LOG_BYTES = 1 << 20


def _instructions(code: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Opcode, source register, immediate and position of each."""
    for at in range(0, len(code), _SIZE):
        opcode, registers, _offset, immediate = struct.unpack_from("<BBhi", code, at)
        yield opcode, registers >> 4, immediate, at


@dataclass(frozen=True)
class MapDefinition:
    """What BPF_MAP_CREATE needs. ``kind`` is an ``enum bpf_map_type`` value."""

    name: str
    kind: int
    key_size: int
    value_size: int
    entries: int
    flags: int


@dataclass(frozen=True)
class Program:
    """Instructions, and at which bytes a descriptor (of map number N) or a parameter (number N) belongs."""

    code: bytes
    maps: tuple[tuple[int, int], ...]
    parameters: tuple[tuple[int, int], ...]


def relocatable(code: bytes, map_fds: Sequence[int]) -> Program:
    """The program without this process's descriptors. Raises ``ValueError`` for instructions that cannot be kept."""
    maps, parameters = [], []
    kept = bytearray(code)
    for opcode, source, immediate, at in _instructions(code):
        if opcode == _CALL and source == _SUBPROGRAM:
            raise ValueError("a program that calls subprograms")
        if opcode != _LOAD_CONSTANT:
            continue
        if source == _MAP_FD:
            maps.append((at, map_fds.index(immediate)))
            struct.pack_into("<i", kept, at + 4, 0)
        elif source:
            raise ValueError(f"a constant of kind {source}")
        else:
            value = struct.unpack_from("<I", code, at + 4)[0] | struct.unpack_from("<I", code, at + 12)[0] << 32
            if 0 <= value - _TAG < len(PARAMETERS):
                parameters.append((at, value - _TAG))
    return Program(bytes(kept), tuple(maps), tuple(parameters))


@dataclass(frozen=True)
class Compiled:
    """Programs by name, and every map that they use."""

    programs: Mapping[str, Program]
    maps: tuple[MapDefinition, ...]

    def to_bytes(self) -> bytes:
        """For a file or a pipe."""
        maps = [[m.name, m.kind, m.key_size, m.value_size, m.entries, m.flags] for m in self.maps]
        programs = {name: [_packed(p.code), p.maps, p.parameters] for name, p in self.programs.items()}
        return json.dumps({"kind": "compiled", "maps": maps, "programs": programs}).encode()

    @staticmethod
    def of(found: Mapping[str, Any]) -> Compiled:
        """From the decoded JSON of ``to_bytes``; ``ValueError``, ``TypeError`` or ``LookupError`` for anything else."""
        programs = {
            name: Program(_unpacked(code), tuple(map(tuple, maps)), tuple(map(tuple, parameters)))
            for name, (code, maps, parameters) in found["programs"].items()
        }
        return Compiled(programs, tuple(MapDefinition(*one) for one in found["maps"]))


def _packed(code: bytes) -> str:
    return base64.b64encode(zlib.compress(code, 1)).decode()


def _unpacked(text: str) -> bytes:
    try:
        return zlib.decompress(base64.b64decode(text))
    except zlib.error as error:
        raise ValueError(str(error)) from None


class Refused(KernelError):
    """The kernel does not take a program; ``hint`` is the verifier's reason."""


def load(
    compiled: Compiled, kinds: Mapping[str, str], values: Mapping[str, int], wanted: Sequence[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """Descriptors of programs (``kinds``: name → key of ``KINDS``) and of the ``wanted`` maps. Raises ``KernelError``."""
    unlimit_memory()
    with contextlib.ExitStack() as opened:
        maps = []
        for one in compiled.maps:
            maps.append(_create(one))
            opened.callback(os.close, maps[-1])
        began = time.monotonic()
        ready = {name: (_filled(compiled.programs[name], maps, values), bound_to(name)) for name in kinds}
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # the verifier's work goes on all CPUs
            waiting = {name: pool.submit(_load, name, KINDS[kinds[name]], *one) for name, one in ready.items()}
        failed = next((f.exception() for f in waiting.values() if f.exception()), None)
        programs = {name: one.result() for name, one in waiting.items() if not one.exception()}
        if failed:
            for fd in programs.values():
                os.close(fd)
            raise failed
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug("verified and loaded in %.0f ms: %d programs", 1000 * (time.monotonic() - began), len(programs))
            _say_loaded(compiled, kinds, programs)
        names = [one.name for one in compiled.maps]
        return programs, {name: os.dup(maps[names.index(name)]) for name in wanted}


def _say_loaded(compiled: Compiled, kinds: Mapping[str, str], programs: Mapping[str, int]) -> None:
    for one in compiled.maps:
        kind = _MAP_KINDS.get(one.kind, f"type {one.kind}")
        sizes = (
            f"{one.entries:,} bytes"
            if kind == "ringbuf"
            else f"{one.entries:,} × {one.key_size} → {one.value_size} bytes"
        )
        _LOG.debug("map %s: %s, %s", one.name, kind, sizes)
    for name, fd in programs.items():
        machine, translated, verified = bpf.program_sizes(fd)
        looked = f"{verified:,} verified; " if verified else ""
        code = f"{machine:,} bytes of machine code" if machine else "interpreted"
        given, kept = len(compiled.programs[name].code) // _SIZE, translated // _SIZE
        _LOG.debug(
            "program %s (%s): %s instructions, %s after translation, %s%s",
            name,
            kinds[name],
            f"{given:,}",
            f"{kept:,}",
            looked,
            code,
        )


def unlimit_memory() -> None:
    """Until 5.11 (commit 80ee81e0403c) map memory counts against RLIMIT_MEMLOCK."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _filled(program: Program, maps: Sequence[int], values: Mapping[str, int]) -> bytes:
    code = bytearray(program.code)
    for at, number in program.maps:
        struct.pack_into("<i", code, at + 4, maps[number])
    for at, number in program.parameters:
        value = values[PARAMETERS[number]]
        struct.pack_into("<I", code, at + 4, value & 0xFFFFFFFF)
        struct.pack_into("<I", code, at + 12, value >> 32)
    return bytes(code)


def _create(one: MapDefinition) -> int:
    try:
        return bpf.map_create(one.kind, one.key_size, one.value_size, one.entries, flags=one.flags, name=one.name)
    except OSError as error:
        raise _refused(f"the map {one.name!r}", error, error.strerror or "") from None


def bound_to(name: str) -> tuple[int, int]:
    """The attach type and the function's BTF number for a program of that name; zeros for one that is not bound.

    Raises ``KernelError`` where this kernel has no such function.
    """
    for head, (attach_type, function) in _BOUND.items():
        if name.startswith(head):
            wanted = function + name.removeprefix(head)
            try:
                return attach_type, btf.vmlinux().type_id(wanted, btf.KIND_FUNC)
            except KeyError:
                raise KernelError(f"{wanted} is not in the kernel's BTF", "see: isotrace doctor") from None
    return 0, 0


def _load(name: str, kind: int, code: bytes, bound: tuple[int, int]) -> int:
    attach_type, function = bound
    try:
        return bpf.prog_load(kind, code, attach_type=attach_type, attach_btf_id=function, name=name)
    except OSError as error:
        first = error
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        return bpf.prog_load(kind, code, attach_type=attach_type, attach_btf_id=function, name=name, log=log)
    except OSError:
        said = verifier_reason(log.value.decode(errors="replace"))
        raise _refused(f"the program {name!r}", first, said) from None


def _refused(what: str, error: OSError, said: str) -> KernelError:
    if isinstance(error, PermissionError) and not said.strip():
        return not_permitted()
    message = f"cannot load {what}: {error.strerror}"
    return Refused(message, said) if said else KernelError(message, "see: isotrace doctor")


def not_permitted() -> KernelError:
    """For EPERM."""
    return KernelError("the kernel does not let this user load BPF programs", "run as root; see: isotrace doctor")
