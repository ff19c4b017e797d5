"""Rules on paths where a file is open already: memory that becomes executable, and attributes that change by ioctl."""

from __future__ import annotations

import re
import shlex
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest

from isotrace.policy import paths
from isotrace.trace.target import Target
from tests.live.tracer import PATIENCE
from tests.vm.enforced import DENIED, PROGS, Worker, enforced, need_for

OBJECTS = ("lsm", "fmod_ret")
CODE = bytes.fromhex("b82a000000c3").ljust(4096, b"\0")
THROUGH, REFUSED, UNTRIED = 0, 1, 77
CODE_ATTACKS = [
    ("execution", "implied"),
    ("execution", "protected_later"),
    ("mappings", "remapped"),
    ("mappings", "read_again"),
]
ATTRIBUTE_ATTACKS = [
    *(("attributes", "setflags"), ("attributes", "fssetxattr"), ("commands", "setflags32")),
    *(("commands", "setversion"), ("commands", "migrate"), ("commands", "file_setattr")),
]
SNAPSHOTS = (
    0x50009401,
    0x50009417,
    0x5000940F,
    0x4020BC10,
)  # SNAP_CREATE, SNAP_CREATE_V2, SNAP_DESTROY, SUBVOLUME_CREATE


@pytest.fixture(scope="module")
def attacks(tmp_path_factory):
    """Programs of attacks by name."""
    directory = tmp_path_factory.mktemp("attacks")
    for name in ("execution", "attributes", "mappings", "commands"):
        source = PROGS / "attacks" / f"{name}.c"
        subprocess.run(["gcc", "-O1", "-Wall", "-o", directory / name, source], check=True)
    return directory


def outcome(mechanism, rules, ways):
    """Way → (status, what it says), of attacks that run one after the other; without rules where mechanism is ""."""
    lines = [f'{shlex.join(map(str, words))} 2>&1; echo "= {name} $?"' for name, words in ways.items()]
    parsed = [paths.parse(text.lstrip("+"), allow=text.startswith("+"), action=DENIED) for text in rules]
    with subprocess.Popen(
        ["sh", "-c", "read x; " + "; ".join(lines)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process, enforced(mechanism, parsed, Target(tree=process.pid)) if mechanism else nullcontext():  # fmt: skip
        said, _ = process.communicate("\n", timeout=PATIENCE)
    found = re.findall(r"(.*?)= (\S+) (\d+)\n", said, re.DOTALL)
    return {name: (int(status), text) for text, name, status in found}


def check(mechanism, rules, refused, free):
    """Those of ``refused`` are refused by the rules, and get through without; those of ``free`` are not refused."""
    ways = refused | free
    bare, held = outcome("", [], ways), outcome(mechanism, rules, ways)
    assert bare.keys() == held.keys() == ways.keys()
    untried = {name for name, (status, _) in bare.items() if status == UNTRIED}
    assert all(bare[name][0] == THROUGH for name in ways.keys() - untried), bare
    assert all(held[name][0] == REFUSED and "cross-device" in held[name][1] for name in refused.keys() - untried), held
    assert all(held[name][0] == THROUGH for name in free.keys() - untried), held
    return untried


@pytest.mark.parametrize("mechanism", OBJECTS)
def test_no_file_becomes_executable_or_changes_by_a_descriptor_that_is_open(mechanism, attacks, tmp_path):
    need_for(mechanism)
    overlay = Path("/srv/isotrace-overlay")
    for directory in (overlay, tmp_path):
        directory.mkdir(exist_ok=True)
        (directory / "code").write_bytes(CODE)
    refused = {
        f"{program} {name} {place}".replace(" ", "-").replace("/", "-"): [attacks / program, name, place / "code"]
        for program, name in CODE_ATTACKS
        for place in (tmp_path, overlay)
    }
    free = {"no_file": [attacks / "mappings", "no_file"]}
    kept = tmp_path / "kept"
    kept.mkdir()
    for program, name in ATTRIBUTE_ATTACKS:
        (kept / name).write_bytes(b"")
        refused[name] = [attacks / program, name, kept / name]
    free["looks"] = [attacks / "commands", "looks", kept / "setflags"]
    untried = check(mechanism, [f"x:{tmp_path}/**", f"x:{overlay}/**", f"w:{kept}/**"], refused, free)
    assert untried <= {"looks", *(name for _, name in ATTRIBUTE_ATTACKS)}, "a tmpfs has attributes since 6.0"


@pytest.mark.parametrize("mechanism", OBJECTS)
def test_no_snapshots_are_made_under_a_rule_on_paths(mechanism, tmp_path):
    """By the numbers of the commands, which no file system here has: ENOTTY is what they would come to."""
    need_for(mechanism)
    tries = [f"fcntl.ioctl(os.open('{tmp_path}', 0), {number}, bytearray(4096))" for number in SNAPSHOTS]
    worker = Worker()
    try:
        assert [worker.ask(one) for one in tries] == ["ENOTTY"] * len(tries)
        with enforced(
            mechanism, [paths.parse(f"r:{tmp_path}/secret", allow=False)], Target(tree=worker.pid), whole=True
        ):
            assert [worker.ask(one) for one in tries] == ["EPERM"] * len(tries)
    finally:
        worker.end()


@pytest.mark.parametrize("mechanism", OBJECTS)
def test_a_list_of_allowed_programs_leaves_out_what_no_path_has(mechanism, attacks):
    need_for(mechanism)
    overlay = Path("/srv/isotrace-allowed")
    overlay.mkdir(exist_ok=True)
    (overlay / "code").write_bytes(CODE)
    refused = {
        "memfd": [attacks / "execution", "memfd", attacks / "execution", "ran"],
        "detached": [attacks / "mappings", "detached", attacks / "mappings", "ran"],
        "memfd_mapped": [attacks / "mappings", "memfd_mapped"],
        "attached": [attacks / "mappings", "attached"],
    }
    free = {
        "no_file": [attacks / "mappings", "no_file"],
        "overlay": [attacks / "execution", "protected_later", overlay / "code"],
        "allowed": ["/usr/bin/env", "true"],
    }
    rules = ["x:/**", "+x:/usr/**", f"+x:{attacks}/**", f"+x:{overlay}/**"]
    assert not check(mechanism, rules, refused, free)
