"""A policy as a seccomp profile, loaded by libseccomp: the kernel refuses a call by whatever entry it is made."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import seccomp_profile

from isotrace.handover import seccomp
from isotrace.policy import file

Compile = Callable[..., Path]


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("connect", ["x86_64 13", "i386 13", "socketcall 13", f"socket {errno.EAFNOSUPPORT}"]),
        ("=connect", ["x86_64 13", "i386 13", "socketcall 13", f"socket {errno.EAFNOSUPPORT}"]),
        ("=getppid", ["x86_64 13", "i386 13"]),
    ],
)
def test_a_call_is_refused_by_every_entry(compiled: Compile, tmp_path: Path, word: str, wanted: list[str]) -> None:
    program, said = compiled("ways", "-m64"), tmp_path / "said"
    policy = file.read(f'version = 1\n[groups.g]\naction = "EACCES"\ndeny = "{word}"\n')
    profile = json.loads(seccomp.export(policy).text)

    def child() -> int:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT, 0o600), 1)
        os.execv(program, ["ways", word.lstrip("=")])

    assert seccomp_profile.under(profile, child) == 0
    assert said.read_text().splitlines() == wanted
