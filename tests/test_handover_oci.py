"""What a container's config.json has of a policy: its fields, and paths that are masked or read-only."""

from __future__ import annotations

import json

import pytest
from handed_paths import PATHS
from handed_paths import policies as path_policies
from hypothesis import given, settings

from isotrace.handover import targets
from isotrace.handover.model import Held
from isotrace.handover.places import refuses
from isotrace.policy import PathRequest, decide, file


def exported(rules):
    return targets.export(file.read(f"version = 1\n[groups.g]\n{rules}\n"), "oci")


def linux(rules):
    found = json.loads(exported(rules).text)
    assert set(found) == {"linux"}
    return found["linux"]


def test_the_fields_are_those_of_the_runtime_specification():
    found = linux('deny = ["ptrace", "connect"]\ndeny-path = ["/etc/shadow", "w:/usr/"]')
    assert set(found) == {"seccomp", "maskedPaths", "readonlyPaths"}
    assert found["maskedPaths"] == ["/etc/shadow"] and found["readonlyPaths"] == ["/usr"]
    assert set(found["seccomp"]) == {"defaultAction", "defaultErrnoRet", "architectures", "syscalls"}
    for entry in found["seccomp"]["syscalls"]:
        assert {"names", "action"} <= set(entry) <= {"names", "action", "errnoRet", "args"}


def test_no_filter_is_written_where_no_rule_is_on_calls():
    assert set(linux('deny-path = "/etc/"')) == {"maskedPaths"}


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ('deny-path = "/etc/"', [Held.PART]),
        ('deny-path = "x:/etc/"', [Held.NOT]),
        ('deny-path = "/**"', [Held.NOT]),
        ('deny-path = "/*/x"', [Held.NOT]),
        ('deny-path = "w:/srv/**"\nallow-path = "w:/srv/app/**"', [Held.PART, Held.WIDER]),
        ('deny-path = "r:/etc/"\naction = "audit"', [Held.NOT]),
        ('deny-net = ["unix:/run/x", "any:"]', [Held.PART, Held.NOT]),
    ],
)
def test_how_far_a_rule_is_held(rules, wanted):
    assert [finding.held for finding in exported(rules).findings] == wanted


@settings(max_examples=150, deadline=None)
@given(path_policies())
def test_what_is_held_is_masked_or_read_only(policy):
    handed = targets.export(policy, "oci")
    found = json.loads(handed.text)["linux"]
    lost = {id(one.rule) for one in handed.findings if one.held is Held.NOT}

    def listed(key, path):
        return any(f"{path}/".startswith(where + "/") for where in found.get(key, ()))

    for path in PATHS:
        for letter in "rw":
            rule = decide(policy, PathRequest(path, frozenset(letter))).rule
            refused = listed("maskedPaths", path) or (letter == "w" and listed("readonlyPaths", path))
            if rule is not None and refuses(rule) and id(rule) not in lost:
                assert refused, (path, letter)


def test_a_hostile_name_is_one_string():
    assert linux(r"""deny-path = '/a "b"\\, [c] é/'""")["maskedPaths"] == ['/a "b"\\, [c] é']
