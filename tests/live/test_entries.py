"""The functions of system calls that isotrace knows, against those that this kernel has: none may be unknown to it."""

from __future__ import annotations

import re

import pytest

from isotrace import catalog
from isotrace.enforce.calls import entries
from isotrace.kernel import probe_system

#: Functions that the kernel makes of every SYSCALL_DEFINE, though no table of x86 has them: some are for other machines;
#: what the rest do on i386 comes multiplexed by ipc and socketcall, which have functions of their own.
IN_NO_TABLE = frozenset(
    ("ni_syscall", "recv", "send", "gethostname", "sync_file_range2", "old_msgctl", "old_semctl", "old_shmctl")
)


@pytest.fixture(scope="module")
def symbols() -> set[str]:
    found = set(re.findall(r" [tT] (__(?:x64|ia32|x32)_(?:compat_)?sys_\w+)", probe_system.symbols()))
    if not found:
        pytest.skip("needs symbols: /proc/kallsyms shows none")
    return found


def test_every_function_of_a_call_is_that_of_a_call_in_the_catalogue(symbols: set[str]) -> None:
    known = set(entries.all_functions(catalog.names()))
    unknown = {one for one in symbols - known if re.sub(r"^__\w+?_(compat_)?sys_", "", one) not in IN_NO_TABLE}
    assert unknown == set()


def test_what_only_a_32_bit_table_has_belongs_to_a_call_that_it_has(symbols: set[str]) -> None:
    """A function made for i386 or x32 alone is one of a call of theirs, and not merely of any."""
    made = {one for one in symbols if one.startswith(("__ia32_compat_", "__x32_compat_", "__x64_compat_"))}
    calls = {call.name for abi in ("i386", "x32") for call in catalog.by_number(abi).values()}
    theirs = set(entries.all_functions(calls))
    assert {one for one in made - theirs if re.sub(r"^__\w+?_compat_sys_", "", one) not in IN_NO_TABLE} == set()
