"""The C structs of bpf/counts.h and the numpy dtypes of isotrace/backends/counts.py are the same thing, written twice."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from isotrace.backends import counts
from isotrace.catalog import by_name

BPF = Path(__file__).parents[1] / "bpf"
STRUCTS = {
    "call": counts.CALL,
    "count_key": counts.KEY,
    "count": counts.COUNT,
    "name": counts.NAME,
    "error_key": counts.ERROR_KEY,
    "error": counts.ERROR,
    "place": counts.PLACE,
    "touch": counts.TOUCH,
}
HEAD = """
#include <stdio.h>
#include <stddef.h>
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef long long s64;
#include "event.h"
#include "counts.h"
int main(void) {
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    if not shutil.which("gcc"):
        pytest.skip("needs gcc: to compile bpf/counts.h")
    lines = []
    for name, dtype in STRUCTS.items():
        lines.append(f'printf("{name} %zu 0\\n", sizeof(struct {name}));')
        lines += [
            f'printf("{name}.{m} %zu %zu\\n", offsetof(struct {name}, {m}), sizeof(((struct {name} *)0)->{m}));'
            for m in dtype.names
        ]
    numbers = ("BUCKETS", "BUCKET_SHIFT", "PLACE_TEXT", "PLACE_PATH", "PLACE_ADDRESS", "STAT_CALLS_LOST")
    numbers += ("STAT_ERRORS_LOST", "STAT_TOUCHES", "STAT_TOUCHES_LOST", "STAT_NOT_FOLLOWED")
    lines += [f'printf("{name} %d 0\\n", (int){name});' for name in numbers]
    directory = tmp_path_factory.mktemp("layout")
    source = directory / "layout.c"
    source.write_text(HEAD + "\n".join(lines) + "\nreturn 0; }\n")
    subprocess.run(["gcc", "-Wall", "-Werror", f"-I{BPF}", "-o", directory / "layout", source], check=True)
    output = subprocess.run([directory / "layout"], check=True, capture_output=True, text=True).stdout
    return {name: (int(a), int(b)) for name, a, b in (line.split() for line in output.splitlines())}


@pytest.mark.parametrize("name", STRUCTS)
def test_struct(said, name):
    dtype = STRUCTS[name]
    assert said[name][0] == dtype.itemsize
    for member in dtype.names:
        kind, offset = dtype.fields[member][:2]
        assert said[f"{name}.{member}"] == (offset, kind.itemsize), member


def test_constants(said):
    assert said["BUCKETS"][0] == counts.BUCKETS
    assert said["BUCKET_SHIFT"][0] == counts.BUCKET_SHIFT
    assert said["PLACE_TEXT"][0] == counts.PLACE_TEXT
    assert (said["PLACE_PATH"][0], said["PLACE_ADDRESS"][0]) == (counts.PATH, counts.ADDRESS)
    assert said["STAT_CALLS_LOST"][0] == counts._STAT_CALLS_LOST
    assert said["STAT_ERRORS_LOST"][0] == counts._STAT_ERRORS_LOST
    assert said["STAT_TOUCHES"][0] == counts._STAT_TOUCHES
    assert said["STAT_TOUCHES_LOST"][0] == counts._STAT_TOUCHES_LOST
    assert said["STAT_NOT_FOLLOWED"][0] == counts._STAT_NOT_FOLLOWED


def describe(name):
    raw = counts.described(by_name("x86_64")[name], counts.WANTED)
    return dict(zip(counts.CALL.names, raw, strict=True))


def test_calls_are_described_by_the_catalogue():
    assert describe("read")["bytes"] == describe("sendto")["bytes"] == 1
    assert describe("getpid")["bytes"] == describe("lseek")["bytes"] == 0
    assert (describe("openat")["place"], describe("openat")["arg"]) == (counts.PATH, 1)
    assert (describe("connect")["place"], describe("connect")["arg"], describe("connect")["length"]) == (2, 1, 2)
    assert describe("exit_group")["ends"] == describe("clone3")["forks"] == describe("execve")["executes"] == 1
    assert describe("read")["ends"] == describe("read")["forks"] == describe("read")["executes"] == 0


@pytest.mark.parametrize("cpus", [1, 2, 64, 1024])
def test_table_stays_within_bounds_on_any_machine(cpus):
    found = counts.rows_for(cpus)
    assert 4096 <= found <= 65536
    assert found * cpus * counts.COUNT.itemsize <= 96 << 20 or found == 4096
