#!/usr/bin/env python3
"""Write isotrace/catalog/families.txt by asking strace and systemd themselves.

    tools/gen_families.py "strace" "systemd-analyze" > isotrace/catalog/families.txt

Both arguments are commands and may have several words (a newer strace run through its own dynamic loader,
say). strace is asked with tools/probe_calls.c, which makes every call there is: what `strace -e
trace=%CLASS` shows of it is the class. systemd's sets come from `systemd-analyze syscall-filter`; a set
inside a set stays one word, to be resolved by the reader. Names of other architectures are dropped.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAST_NUMBER = 511
CLASSES = """
    %file %desc %process %network %net %signal %ipc %memory %creds %clock %pure
    %stat %lstat %fstat %%stat %statfs %fstatfs %%statfs
"""


def known_names() -> set[str]:
    """Every name of numbers.tsv."""
    lines = (ROOT / "isotrace/catalog/numbers.tsv").read_text().splitlines()
    return {line.split("\t")[0] for line in lines if not line.startswith("#")}


def strace_class(strace: list[str], probe: Path, name: str) -> set[str]:
    """The names that ``strace -e trace=NAME`` lets through, of both x86 ABIs."""
    shown: set[str] = set()
    for abi in ("x86_64", "i386"):
        command = [*strace, "-o", "/dev/stdout", "-e", f"trace={name}", str(probe), abi, str(LAST_NUMBER)]
        output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        shown.update(re.findall(r"^(\w+)\(.*ENOSYS", output, re.MULTILINE))
    return {call for call in shown if not call.startswith("syscall_")}


def systemd_sets(analyze: list[str]) -> dict[str, list[str]]:
    """``{"@aio": ["io_cancel", …]}`` as systemd-analyze prints them."""
    output = subprocess.run([*analyze, "syscall-filter"], capture_output=True, text=True, check=True).stdout
    sets: dict[str, list[str]] = {}
    for line in output.splitlines():
        word = line.split("#")[0].strip()
        if line.startswith("@"):
            members = sets.setdefault(word, [])
        elif word:
            members.append(word)
    return sets


def write(name: str, members: list[str]) -> None:
    """One family: its name at the margin, its members on indented lines."""
    print(name)
    print(textwrap.fill(" ".join(members), 110, initial_indent=" ", subsequent_indent=" "))


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: gen_families.py STRACE SYSTEMD_ANALYZE > families.txt")
    strace, analyze = shlex.split(sys.argv[1]), shlex.split(sys.argv[2])
    known = known_names()
    versions = [
        subprocess.check_output([*command, flag], text=True)
        for command, flag in ((strace, "-V"), (analyze, "--version"))
    ]
    print("# Written by tools/gen_families.py from", " and ".join(text.splitlines()[0] for text in versions))
    with tempfile.TemporaryDirectory() as directory:
        probe = Path(directory) / "probe_calls"
        subprocess.run(["cc", "-O1", "-o", str(probe), str(ROOT / "tools/probe_calls.c")], check=True)
        for name in CLASSES.split():
            write(name, sorted(strace_class(strace, probe, name) & known))
    for name, members in sorted(systemd_sets(analyze).items()):
        write(name, [word for word in members if word.startswith("@") or word in known])


if __name__ == "__main__":
    main()
