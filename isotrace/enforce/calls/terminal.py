"""A command that isotrace starts may have isotrace's terminal, or its caller's: what it types there others would run.

A seccomp filter of its own takes that from it, whatever else enforces the rules: TIOCSTI types into a terminal (with
dev.tty.legacy_tiocsti=1 from 6.2 on, always before), TIOCLINUX pastes into a console. The number of an ioctl is a register.
"""

from __future__ import annotations

import os

from isotrace import catalog
from isotrace.catalog.model import X32_BIT
from isotrace.enforce.calls import cbpf, notify
from isotrace.enforce.calls.cbpf import Entry, Table, Test
from isotrace.process import libc

TIOCSTI, TIOCLINUX = 0x5412, 0x541C
_RULE = 0
_ALL = 0xFFFFFFFF  # the kernel looks at 32 bits of the number
_EPERM = 1


def table(machine: str) -> Table:
    """What is refused, by every entry of ioctl."""
    found: Table = {}
    for arch, abis in cbpf.ARCHES[machine].items():
        for abi in abis:
            key = (arch, catalog.by_name(abi)["ioctl"].number & ~X32_BIT)
            found[key] = [Entry("ioctl", abi, _RULE, Test(1, _ALL, number)) for number in (TIOCSTI, TIOCLINUX)]
    return found


def program(machine: str) -> bytes:
    """The filter."""
    return cbpf.program(table(machine), machine, {_RULE: cbpf.RET_ERRNO | _EPERM})


def take_away(code: bytes) -> None:
    """In the command's process, while it has isotrace's privileges: refuse what types into a terminal from now on.

    Without privileges that takes no_new_privs. Where no filter is to be had the process gets a session of its own, which
    has no terminal.
    """
    try:
        notify.install(code, False)
    except OSError:
        try:
            libc.no_new_privs()
            notify.install(code, False)
        except OSError:
            os.setsid()
