"""Self-test of what is refused by number: every number of every ABI, whatever stands above it in the register."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

from isotrace.enforce.calls import entries
from isotrace.enforce.calls.cbpf import Table
from isotrace.enforce.selftest import child, trials
from isotrace.errors import KernelError

_LOG = logging.getLogger(__package__)
#: Calls that answer ENOSYS by their own code, to arguments without sense, and the function of i386's entry.
_ANSWERS_ENOSYS = {"futex": "futex_time32", "futex_time64": "futex", "modify_ldt": "modify_ldt"}


def refused(table: Table, arm: Callable[[int], None], compat: bool = True) -> None:
    """Try all that ``table`` refuses in a child that ``arm`` is given the pid of; 0 disarms.

    Without ``compat`` i386's numbers are left out. Raises ``KernelError`` that names the calls which are not refused.
    """
    known = trials.abis() - (set() if compat else {"i386"})
    numbers = [one for one in _numbers(table) if one.abi in known and one.call not in trials.UNTRIED]
    tried = sorted({f"{one.call}@{one.abi}" for one in numbers})
    _LOG.debug("self-test by number, with %d values of the upper half: %s", len(trials.UPPER_HALVES), ", ".join(tried))
    found = child.ask(trials.by_number(numbers), arm)
    failed = {one.call for one, result in zip(numbers, found, strict=True) if not _convinces(one, result)}
    if failed:
        listed = ", ".join(sorted(failed))
        raise KernelError(
            f"the self-test failed: {listed} was not denied", "leave that out of the rule, or try another --backend"
        )


def _convinces(one: trials.Number, result: int) -> bool:
    return result == child.REFUSED or (result == errno.ENOSYS and (one.upper != 0 or _may_lack(one)))


def _may_lack(one: trials.Number) -> bool:
    """Whether this kernel may do without the call: i386's calls with 32-bit times may be left out of one."""
    if one.abi != "i386":
        return not entries.functions(one.call)
    return one.call not in _ANSWERS_ENOSYS or not entries.by_name(_ANSWERS_ENOSYS[one.call], "__ia32_")


def _numbers(table: Table) -> list[trials.Number]:
    """What the table refuses: each number, and each multiplexed call, with each upper half."""
    found = []
    for (_arch, number), listed in table.items():
        for entry in listed:
            first = entry.test.value if entry.test and entry.test.mask else -1
            found += [trials.Number(entry.call, entry.abi, number, first, upper) for upper in trials.UPPER_HALVES]
    return found
