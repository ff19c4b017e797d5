"""tests/progs/escape.c, which tries the ways round: none leads through where objects are judged; where calls are, those
that do were announced."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from isotrace.policy import names, nets, paths
from isotrace.trace.target import Target
from tests.live.tracer import PATIENCE
from tests.vm.enforced import DENIED, REFUSING, compiled, enforced, guarantees_of, need_for

#: Way → what the plan says of it beforehand, for rules on calls by number.
ANNOUNCED = {"passed": "is received from somebody else", "int80": "not their 32-bit entry"}
#: Ways whose error is not the rule's own: nothing received, a program or file that does not come up, what never succeeds.
OTHER_ERRORS = {"passed", "memfd", "race", "x32", "exchange"}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("escape"), "escape")


def ways(mechanism, program, where, rules_for):
    """(way → what became of it, what the guarantees say beforehand, the counters)."""
    secret, place = where / "secret", where / "place"
    secret.mkdir()
    place.mkdir()
    file = secret / "file"
    file.write_text("hidden")
    ours, theirs = socket.socketpair()
    descriptor = os.open(file, os.O_RDONLY)
    socket.send_fds(ours, [b"x"], [descriptor])
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as waiting:
        port = listener.getsockname()[1]
        waiting.bind(str(where / "socket"))
        waiting.listen(16)
        rules = rules_for(secret, port)
        process = subprocess.Popen(
            [program, file, place, str(port), str(theirs.fileno()), where / "socket"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[theirs.fileno()],
        )  # fmt: skip
        try:
            with enforced(mechanism, rules, Target(tree=process.pid)) as enforcer:
                said, _ = process.communicate("\n", timeout=5 * PATIENCE)
                counts = enforcer.counts()
                guarantees = [guarantees_of(mechanism.split()[0], rule) for rule in rules]
        finally:
            process.kill()
            process.wait()
    os.close(descriptor)
    assert file.read_text() == "hidden"
    found = {line.split()[0]: line.split()[1:] for line in said.splitlines()}
    assert "race" in found, "the program came to its end"
    return found, [note for one in guarantees for note in (*one.notes, *one.short)], counts


@pytest.mark.race
@pytest.mark.parametrize("mechanism", REFUSING)
def test_no_way_round_but_what_was_announced(mechanism, program, tmp_path):
    need_for(mechanism)
    by_object = mechanism in ("lsm", "fmod_ret")

    def rules(secret, port):
        if not by_object:
            return [names.parse(word, action=DENIED) for word in ("open", "connect")]
        return [
            paths.parse(f"{secret}/**", allow=False, action=DENIED),
            nets.parse(f"tcp:127.0.0.1:{port}", allow=False, action=DENIED),
            nets.parse(f"unix:{secret.parent}/socket", allow=False, action=DENIED),
        ]

    found, notes, counts = ways(mechanism, program, tmp_path, rules)
    through = {way for way, result in found.items() if result == ["through"]}
    assert all(way in ANNOUNCED and any(ANNOUNCED[way] in note for note in notes) for way in through), through
    assert not (by_object and through)
    assert {tuple(result) for way, result in found.items() if way.startswith("unix")} == {("refused", "EXDEV")}
    wrong = {way: result for way, result in found.items() if result[0] == "refused" and result[1] != "EXDEV"}
    assert set(wrong) <= OTHER_ERRORS, wrong
    assert counts.missed == counts.not_followed == 0
