"""A call's number has 32 bits: what stands above them in the register hides no call from a rule, in no mechanism."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from isotrace.catalog import by_name
from isotrace.catalog.model import X32_BIT
from isotrace.enforce.calls import entries
from isotrace.policy import names
from isotrace.trace.target import Target
from tests.vm.enforced import FEATURES, REFUSING, compiled, deny, enforced, need_for

FLAGS = ("-nostdlib", "-static", "-fno-stack-protector", "-fno-pie", "-no-pie")
ABIS = {"64": ("x86_64", ""), "x32": ("x32", "x32"), "32": ("i386", "ia32")}
#: The mechanisms that judge by number see the call before anything of it has run.
BY_NUMBER = ("fmod_ret_call", "override", "lkm", "lkm table")
#: Words whose calls all come to a hook with arguments that are 0 but for the fifth, as tests/progs/refuse.c makes them.
AT_HOOKS = ("=socket", "=kill")
WORDS = ("open", "mkdir", "chmod", "kill", "ptrace", "connect")


@pytest.fixture(scope="module")
def tries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("progs"), "refuse", *FLAGS)


def numbers(word: str, abi: str) -> list[str]:
    """The numbers of those of a word's calls that this kernel has, without x32's bit."""
    known = by_name(abi)
    calls = sorted(call for call in names.parse(word).calls if call in known and entries.functions(call))
    return [str(known[call].number & ~X32_BIT) for call in calls]


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("mechanism", REFUSING)
def test_every_upper_half_of_the_register_is_refused(mechanism: str, abi: str, tries: Path) -> None:
    need_for(mechanism)
    name, feature = ABIS[abi]
    if feature and feature not in FEATURES:
        pytest.skip(f"needs {feature}: of this kernel")
    words = WORDS if mechanism in BY_NUMBER else AT_HOOKS
    tried = [number for word in words for number in numbers(word, name)]
    shell = subprocess.Popen(
        ["sh", "-c", f"read line; {tries} {errno.EXDEV} 1 {abi}+ {' '.join(tried)}; echo $?"],
        stdin=-1,
        stdout=-1,
        text=True,
    )
    with enforced(mechanism, [deny(word) for word in words], Target(ppid=shell.pid)) as enforcer:
        assert shell.communicate("go\n")[0] == "0\n", f"how many of {tried} were not refused"
        assert sum(enforcer.counts().hits.values()) >= len(tried)
