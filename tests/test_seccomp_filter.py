"""The seccomp filter in a small interpreter of classic BPF: it agrees with the reference on every call of every ABI."""

from __future__ import annotations

import struct

import pytest
import seccomp_profile
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrace import catalog
from isotrace.enforce import Enforced, Guarantees
from isotrace.enforce.calls import cbpf
from isotrace.policy import CallRequest, Group, Policy, decide, names
from isotrace.policy.model import Action

ARCH = {"x86_64": 0xC000003E, "x32": 0xC000003E, "i386": 0x40000003, "arm64": 0xC00000B7}
GUARANTEES = Guarantees(True, "closed", True)


def enforced(*rules):
    return [Enforced(number, rule, "seccomp", GUARANTEES) for number, rule in enumerate(rules)]


def compiled(rules, machine="x86_64"):
    verdicts = {number: 0x00050000 | 100 + number for number in range(len(rules))}
    return cbpf.program(cbpf.table(enforced(*rules), machine), machine, verdicts)


def interpret(code, number, arch, args=(0,) * 6):
    """What the kernel's interpreter would return."""
    return seccomp_profile.interpret(list(struct.iter_unpack("=HBBI", code)), number, arch, args)


def refused(code, number, arch, args=(0,) * 6):
    return interpret(code, number, arch, args) != cbpf.RET_ALLOW


_TERMS = st.sampled_from(
    [*names.words(), "openat2", "fchmodat2", "%process", "@network-io", "!connect", "!open", "=read", "ipc"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(_TERMS, min_size=1, max_size=3), min_size=1, max_size=3), st.booleans())
def test_it_refuses_what_the_reference_refuses_and_io_uring(terms, address):
    rules = []
    for words in terms:
        try:
            rules.append(names.parse(",".join(words)))
        except Exception:
            continue
    if not rules:
        return
    policy, code = Policy((Group("", tuple(rules)),)), compiled(rules)
    closed = {name for rule in rules for name in names.closes(rule.calls)}
    args = (0, 0, 0, 0, 1 << 40 if address else 0, 0)
    for abi in ("x86_64", "x32", "i386"):
        for name, call in catalog.by_name(abi).items():
            found = refused(code, call.number, ARCH[abi], args)
            wanted = decide(policy, CallRequest(name, address)).denied or name in closed
            # sendmsg's address is in memory: refused with and without. ipc and socketcall have tests of their own.
            in_memory = name in ("sendmsg", "sendmmsg") and any(name in rule.calls for rule in rules)
            if name not in ("ipc", "socketcall"):
                assert found == (wanted or in_memory), (abi, name)


@pytest.mark.parametrize(
    ("word", "multiplexer", "first", "wanted"),
    [
        ("connect", "socketcall", 3, True),
        ("connect", "socketcall", 11, True),
        ("connect", "socketcall", 9, False),
        ("connect", "socketcall", 1, False),
        ("send", "socketcall", 9, True),
        ("accept", "socketcall", 18, True),
        ("shm", "ipc", 21, True),
        ("shm", "ipc", 21 | 1 << 16, True),
        ("shm", "ipc", 1, False),
        ("sem", "ipc", 4, True),
    ],
)
def test_the_calls_multiplexed_by_socketcall_and_ipc_are_found(word, multiplexer, first, wanted):
    code = compiled([names.parse(word)])
    number = catalog.by_name("i386")[multiplexer].number
    assert refused(code, number, ARCH["i386"], (first, 0, 0, 0, 0, 0)) is wanted


def test_x32_has_no_way_round():
    code = compiled([names.parse("exec")])
    for number in (59, 59 | 0x40000000, 520 | 0x40000000, 520):
        assert refused(code, number, ARCH["x86_64"])


def test_a_foreign_architecture_is_refused():
    assert refused(compiled([names.parse("open")]), 5, 0x40000028)


def test_arm64_has_its_own_numbers():
    code = compiled([names.parse("open")], "aarch64")
    assert refused(code, 56, ARCH["arm64"]) and not refused(code, 57, ARCH["arm64"])
    assert refused(code, 2, ARCH["x86_64"])


def test_a_rule_that_refuses_comes_before_one_that_reports():
    rules = [names.parse("open", action=Action("audit")), names.parse("openat")]
    assert interpret(compiled(rules), 257, ARCH["x86_64"]) == 0x00050000 | 101
    assert interpret(compiled(rules), 2, ARCH["x86_64"]) == 0x00050000 | 100


def test_the_supervisor_finds_the_entry_that_the_filter_found():
    rules = [names.parse("connect"), names.parse("shm")]
    table = cbpf.table(enforced(*rules), "x86_64")
    entry = cbpf.find(table, ARCH["i386"], catalog.by_name("i386")["socketcall"].number, (3, 0, 0, 0, 0, 0))
    assert entry and (entry.call, entry.abi, entry.rule) == ("connect", "i386", 0)
    assert cbpf.find(table, ARCH["x86_64"], 44, (0,) * 6) is None
    assert cbpf.find(table, ARCH["x86_64"], 44 | 0x40000000, (0, 0, 0, 0, 8, 0)).call == "sendto"


def test_everything_fits_into_one_filter():
    code = compiled([names.parse("all")])
    assert len(code) // 8 <= cbpf.MAX_INSTRUCTIONS
    assert not refused(code, 231, ARCH["x86_64"]) and not refused(code, 15, ARCH["x86_64"])
