"""A plan in few lines leaves nothing out: every rule, every note, and the words of every attack that block announces."""

from __future__ import annotations

from unittest import mock

import pytest
from test_enforce_plan import ALL_BUILT, COMMAND, RUNNING, findings, policy

from isotrace.enforce import Enforced, Guarantees, Note, describe, mechanisms, outline, plan, registry
from isotrace.enforce.hooks import standing
from isotrace.enforce.landlock import mechanism as landlock
from isotrace.enforce.opens import mechanism as opens
from isotrace.enforce.plan import EnforcementPlan
from isotrace.policy import names, nets, paths
from tests.vm.attacks import Announced
from tests.vm.attacks.rows import ROWS
from tests.vm.test_block_nets import ANNOUNCED as OF_NETS


def notes(value):
    """All that are somewhere in it."""
    if isinstance(value, Note):
        return {value}
    if isinstance(value, tuple | list | set):
        return set().union(*map(notes, value))
    return notes(value.notes) if isinstance(value, standing.Standing) else set()


NOTES = set().union(*(notes(list(vars(module).values())) for module in (mechanisms, landlock, opens, standing, plan)))
NOTES |= notes([list(value) for value in vars(mechanisms).values() if isinstance(value, tuple)])
WORDS = {one.words for row in ROWS for one in row.expect.values() if isinstance(one, Announced)} | {
    words for _, words in OF_NETS
}


def test_a_note_in_few_words_has_fewer():
    assert len(NOTES) > 40
    assert all(0 < len(note.brief) <= max(len(note), 140) for note in NOTES)
    assert sum(len(note.brief) for note in NOTES) < 0.6 * sum(map(len, NOTES))


@pytest.mark.parametrize("words", sorted(WORDS))
def test_what_is_announced_in_full_is_announced_in_few_words(words):
    for note in NOTES:
        assert (words in note) <= (words in note.brief), note.brief


def files():
    """A group of many rules on files, and two on addresses."""
    words = [f"w:/srv/{name}/**" for name in "abcdefghijkl"]
    found = [paths.parse(word, allow=False, group="files") for word in words]
    found += [paths.parse(f"w:/tmp/{name}", allow=True, group="files") for name in "abcdefghijkl"]
    return [*found, nets.parse(":53", allow=False, group="net"), nets.parse("tcp:", allow=False)]


def lines(rules, target, *present, **options):
    with mock.patch.dict(registry.BUILT, ALL_BUILT):
        made = plan.make(policy(*rules), findings(*present), target, **options)
    return outline.lines(made, "-v"), made


def test_a_group_has_a_line_with_its_exceptions_all_and_its_denials_counted():
    said, _ = lines(files(), RUNNING, "lsm_bpf")
    (found,) = [line for line in said if line.startswith("files: ")]
    judged = "lsm · TOCTOU-safe yes · io_uring judged · 32-bit yes"
    allowed = ", ".join(f"w:/tmp/{name}" for name in "abcdefghijkl")
    denied = ", ".join(f"w:/srv/{name}/**" for name in "abcd")
    assert found == f"files: deny-path {denied} and 8 more → EPERM; allow-path {allowed}: {judged}"
    assert f"net: deny-net :53 → EPERM: {judged}" in said and f"deny-net tcp: → EPERM: {judged}" in said


def test_every_note_of_a_plan_is_in_it_and_where_it_is_in_full():
    rules = [*files(), names.parse("ptrace,connect"), paths.parse("r:/etc/*", allow=False)]
    for target, present in ((RUNNING, ("lsm_bpf",)), (COMMAND, ("landlock", "seccomp", "seccomp_notify"))):
        said, made = lines(rules, target, *present, best_effort=True)
        text = "\n".join(said)
        found = {note for one in made.all_enforced for note in one.guarantees.notes}
        assert found and all((note.brief if isinstance(note, Note) else note) in text for note in found)
        assert said[-1] == "each limit in full: -v" and all(line.isprintable() for line in said)
        full = "\n".join(describe.plan_lines(made, every=True))
        assert all(note in full for note in found)


def test_less_than_asked_has_its_line_also_of_several():
    less = Guarantees(True, "judged", True, short=("half of it",))
    rules = [paths.parse(f"w:/{name}", allow=False, group="g") for name in "ab"]
    made = EnforcementPlan(tuple(Enforced(number, rule, "lsm", less) for number, rule in enumerate(rules)), (), True)
    said = outline.lines(made, "-v")
    assert said[0].startswith("g: deny-path w:/a, w:/b → EPERM: lsm") and said[1] == "  LESS THAN ASKED: half of it"


def test_rules_that_end_differently_are_not_one_line():
    good, late = Guarantees(True, "judged", True), Guarantees(True, "closed", True)
    rules = [paths.parse(f"w:/{name}", allow=False, group="g") for name in "abc"]
    held = [
        Enforced(number, rule, "lsm", how)
        for number, (rule, how) in enumerate(zip(rules, (good, late, late), strict=True))
    ]
    assert [line.split(":")[0] for line in outline.lines(EnforcementPlan(tuple(held), (), True), "-v")] == ["g", "g"]


def test_what_nothing_enforces_is_said():
    said, _ = lines(files(), RUNNING)
    assert sum("NOT ENFORCEABLE" in line for line in said) == len(files())
