"""Whole hash maps as numpy arrays, some thousand entries per system call where the kernel has batches (5.6 on)."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from isotrace.kernel import bpf

_ROOM = 4096
_NO_BATCHES = (errno.EINVAL, errno.EOPNOTSUPP, 524)  # 524 is the kernel's own ENOTSUPP

Chunk = tuple[npt.NDArray[np.void], npt.NDArray[np.void]]


def chunks(fd: int, key: np.dtype[np.void], value: np.dtype[np.void], per_cpu: bool = False) -> Iterator[Chunk]:
    """The entries of a hash map: ``(n,)`` keys and ``(n,)`` values, or ``(n, cpus)`` of a per-CPU map.

    The arrays are valid until the next chunk is asked for. Raises ``OSError``.
    """
    cpus = bpf.possible_cpus() if per_cpu else 1
    keys = np.zeros(_ROOM, dtype=key)
    values = np.zeros((_ROOM, cpus), dtype=value)
    token: int | None = None
    while True:
        try:
            count, token = bpf.map_lookup_batch(fd, token, keys.ctypes.data, values.ctypes.data, _ROOM)
        except OSError as error:
            if error.errno not in _NO_BATCHES or token is not None:
                raise
            yield from _walked(fd, keys, values, per_cpu)
            return
        if count:
            yield keys[:count], values[:count] if per_cpu else values[:count, 0]
        if token is None:
            return


def _walked(fd: int, keys: npt.NDArray[np.void], values: npt.NDArray[np.void], per_cpu: bool) -> Iterator[Chunk]:
    found = [(k, v) for k in bpf.map_keys(fd, keys.itemsize) if (v := bpf.map_lookup(fd, k, values.strides[0]))]
    if found:
        every = np.frombuffer(b"".join(k for k, _ in found), dtype=keys.dtype)
        data = np.frombuffer(b"".join(v for _, v in found), dtype=values.dtype).reshape(len(found), -1)
        yield every, data if per_cpu else data[:, 0]


def delete(fd: int, keys: npt.NDArray[Any]) -> None:
    """Remove ``keys`` from a hash map; those that are not there are skipped."""
    keys = np.ascontiguousarray(keys)
    if not len(keys):
        return
    try:
        bpf.map_delete_batch(fd, keys.ctypes.data, len(keys))
    except OSError:
        for key in keys:
            with contextlib.suppress(OSError):
                bpf.map_delete(fd, key.tobytes())
