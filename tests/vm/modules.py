"""Modules of the guest's own kernel, loaded when a test needs one: nothing in a guest does that by itself.

``python -m tests.vm.modules NAME...`` loads those that there are.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

from tests.vm.bench.initramfs import modules

#: What a module asks the kernel for by name only.
_ASKED_FOR = {"sctp": ("crc32c_generic",), "rxrpc": ("fcrypt", "pcbc")}
_INIT_MODULE = 175

_libc = ctypes.CDLL(None, use_errno=True)


def load(name: str) -> bool:
    """Whether the guest has the module ``name`` (with ``_``), loaded by now with what it depends on. Raises ``OSError``."""
    where = os.environ.get("ISOTRACE_VM_MODULES")
    if not where:
        return False
    found = modules(Path(where))
    if not found.has(name):
        return False
    before = (one for one in _ASKED_FOR.get(name, ()) if found.has(one))
    for image in found.closure((*before, name)).values():
        _insert(image)
    return True


def _insert(image: bytes) -> None:
    if _libc.syscall(_INIT_MODULE, image, ctypes.c_ulong(len(image)), b"") and ctypes.get_errno() != errno.EEXIST:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        try:
            print(wanted, load(wanted))
        except Exception as error:
            print(wanted, error)
