"""Policies for Tetragon and KubeArmor: neither runs here; what is written has the structure that they document."""

from __future__ import annotations

import errno

import pytest
import yaml
from handed_paths import PATHS
from handed_paths import policies as path_policies
from hypothesis import given, settings
from test_handover_seccomp import denies, policies

from isotrace import catalog
from isotrace.handover import targets, tetragon
from isotrace.handover.calls import ADDRESS_IN_MEMORY
from isotrace.handover.model import Held, Setting
from isotrace.handover.places import refuses
from isotrace.handover.yaml import documents
from isotrace.policy import PathRequest, decide, file, names
from isotrace.policy.model import Action, Group, Policy

MIXED = r"""
deny = ["ptrace", "connect"]
deny-path = ["/etc/", "w:/srv/**", "x:/tmp/tool", "/home/*/.ssh/", '/a "b"\\: {c}/**']
allow-path = "w:/srv/app/**"
deny-net = ["any:", "unix:/run/x"]
allow-net = "::1"
"""


def exported(rules, target):
    return targets.export(file.read(f"version = 1\n[groups.g]\n{rules}\n"), target, Setting("worker"))


def loaded(rules, target):
    return list(yaml.safe_load_all(exported(rules, target).text))


def held(rules, target):
    return [finding.held for finding in exported(rules, target).findings]


def test_yaml_is_read_back_as_it_was():
    value = {
        "a": [{"b": 1, "c": ["x: y", "- z", "# n", 'q"\\', "é\U0001f600", "yes", "", "a\nb"]}, {}],
        "d": True,
        "e": [],
    }
    assert list(yaml.safe_load_all(documents(value, {"f": -1}))) == [value, {"f": -1}]


def test_a_tracing_policy_has_the_documented_fields():
    (found,) = loaded(MIXED, "tetragon")
    assert (found["apiVersion"], found["kind"], found["metadata"]) == (
        "cilium.io/v1alpha1", "TracingPolicy", {"name": "worker"},
    )  # fmt: skip
    spec = found["spec"]
    assert set(spec) == {"podSelector", "lists", "kprobes"}
    assert spec["podSelector"] == {"matchLabels": {"app": "worker"}}
    names = {entry["name"] for entry in spec["lists"]}
    for entry in spec["lists"]:
        assert entry["type"] == "syscalls" and all(value.startswith("sys_") for value in entry["values"])
    for probe in spec["kprobes"]:
        assert {"call", "syscall", "selectors"} <= set(probe) <= {"call", "syscall", "args", "selectors"}
        assert not probe["call"].startswith("list:") or probe["call"].removeprefix("list:") in names
        assert len(probe["selectors"]) <= 5
        for selector in probe["selectors"]:
            assert set(selector) <= {"matchArgs", "matchActions"}
            assert all(one["operator"] in ("Equal", "NotEqual", "Prefix") for one in selector.get("matchArgs", ()))
            assert all(isinstance(value, str) for one in selector.get("matchArgs", ()) for value in one["values"])
            assert {one["action"] for one in selector["matchActions"]} <= {"Override", "Sigkill", "Post"}


@settings(max_examples=25, deadline=None)
@given(policies())
def test_every_call_that_the_policy_denies_is_overridden(policy):
    (found,) = yaml.safe_load_all(targets.export(policy, "tetragon", Setting("worker")).text)
    lists = {entry["name"]: entry["values"] for entry in found["spec"].get("lists", ())}
    overridden, addressed = set(), set()
    for probe in found["spec"]["kprobes"]:
        (selector,) = probe["selectors"]
        if any(one["action"] == "Override" for one in selector["matchActions"]):
            functions = (
                lists[probe["call"].removeprefix("list:")] if probe["call"].startswith("list:") else [probe["call"]]
            )
            (addressed if "matchArgs" in selector else overridden).update(functions)
    for name in catalog.by_name("x86_64"):
        function = f"sys_{tetragon._FUNCTIONS.get(name, name)}"
        assert not denies(policy, name, False) or function in overridden, name
        assert not denies(policy, name, True) or function in overridden | addressed, name


@pytest.mark.parametrize("plain", [Action("audit"), Action(errno=errno.EACCES)], ids=str)
def test_what_an_address_decides_is_decided_where_a_call_without_one_has_a_rule_too(plain):
    policy = Policy((Group("g", (names.parse("connect", action=Action("kill")), names.parse("sendto", action=plain))),))
    (found,) = yaml.safe_load_all(targets.export(policy, "tetragon", Setting("worker")).text)
    (probe,) = (one for one in found["spec"]["kprobes"] if one["call"] == "sys_sendto")
    assert probe["selectors"] == [
        {
            "matchArgs": [{"index": 4, "operator": "NotEqual", "values": ["0"]}],
            "matchActions": [{"action": "Override", "argError": -1}, {"action": "Sigkill"}],
        }
    ]
    lists = {entry["name"]: entry["values"] for entry in found["spec"]["lists"]}
    assert lists[f"calls-{plain.name.lower()}"] == ["sys_sendto"]


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        ("EACCES", [{"action": "Override", "argError": -13}]),
        ("ask", [{"action": "Override", "argError": -1}]),
        ("kill", [{"action": "Override", "argError": -1}, {"action": "Sigkill"}]),
        ("audit", [{"action": "Post"}]),
    ],
)
def test_what_becomes_of_an_action(action, wanted):
    (found,) = loaded(f'deny = "ptrace"\naction = "{action}"', "tetragon")
    assert [one["selectors"][0]["matchActions"] for one in found["spec"]["kprobes"]] == [wanted]


def test_a_kubearmor_policy_has_the_documented_fields():
    for found in loaded(MIXED, "kubearmor"):
        assert (found["apiVersion"], found["kind"]) == ("security.kubearmor.com/v1", "KubeArmorPolicy")
        assert set(found["metadata"]) == {"name", "namespace"}
        spec = found["spec"]
        assert spec["selector"] == {"matchLabels": {"app": "worker"}} and 1 <= spec["severity"] <= 10
        assert spec["action"] in ("Block", "Allow", "Audit")
        assert set(spec) <= {"severity", "selector", "action", "process", "file", "network"}
        for section in ("process", "file"):
            for entry in spec.get(section, {}).get("matchPaths", ()):
                assert set(entry) <= {"path", "readOnly"} and not entry["path"].endswith("/")
            for entry in spec.get(section, {}).get("matchDirectories", ()):
                assert set(entry) <= {"dir", "recursive", "readOnly"} and entry["dir"].endswith("/")
        assert all(
            one["protocol"] in ("tcp", "udp", "icmp") for one in spec.get("network", {}).get("matchProtocols", ())
        )


def test_what_is_refused_everywhere_becomes_a_policy_that_allows():
    block, allow = loaded('deny-path = ["w:/**", "/root/"]\nallow-path = "w:/srv/**"', "kubearmor")
    assert block["spec"]["file"] == {"matchDirectories": [{"dir": "/root/", "recursive": True}]}
    assert allow["spec"]["file"]["matchDirectories"] == [
        {"dir": "/", "recursive": True, "readOnly": True}, {"dir": "/srv/", "recursive": True},
    ]  # fmt: skip
    assert allow["spec"]["action"] == "Allow"


def blocks(found, section, path, writes):
    """Whether one of the documents blocks it; what is not in a list of what is allowed is, as the posture has it."""
    allowed = listed = False
    for one in found:
        spec = one["spec"]
        found_here = spec.get(section, {})
        entries = [(entry["path"], False, entry.get("readOnly")) for entry in found_here.get("matchPaths", ())]
        entries += [(entry["dir"], True, entry.get("readOnly")) for entry in found_here.get("matchDirectories", ())]
        for where, below, readonly in entries:
            inside = path == where or (below and f"{path}/".startswith(where))
            if spec["action"] == "Block" and inside and (writes or not readonly):
                return True
            if spec["action"] == "Allow":
                listed = True
                allowed = allowed or (inside and not (writes and readonly))
    return listed and not allowed


@settings(max_examples=150, deadline=None)
@given(path_policies())
def test_kubearmor_lets_nothing_through_but_what_is_named(policy):
    handed = targets.export(policy, "kubearmor", Setting("worker"))
    found = list(yaml.safe_load_all(handed.text))
    lost = {id(one.rule) for one in handed.findings if one.held is Held.NOT}
    for path in PATHS:
        for letter in "rwx":
            rule = decide(policy, PathRequest(path, frozenset(letter))).rule
            if rule is not None and refuses(rule) and id(rule) not in lost:
                assert blocks(found, "process" if letter == "x" else "file", path, letter == "w"), (path, letter)


@pytest.mark.parametrize(
    ("target", "rules", "wanted"),
    [
        ("kubearmor", 'deny-path = "r:/etc/"', [Held.WIDER]),
        ("kubearmor", 'deny-path = "r:/etc/*"', [Held.NOT]),
        ("kubearmor", r"deny-path = '/a b, /c rw/'", [Held.NOT]),
        ("kubearmor", 'deny-net = "tcp:"\nallow-net = "tcp::80"', [Held.PART, Held.WIDER]),
        ("kubearmor", 'deny-net = ["tcp::80", "unix:"]', [Held.NOT, Held.NOT]),
        ("kubearmor", 'deny-path = "/etc/"\naction = "audit"', [Held.EXACT]),
        ("kubearmor", 'deny = "ptrace"', [Held.NOT]),
        ("tetragon", 'deny = "ptrace"', [Held.PART]),
        ("tetragon", 'deny-path = "/etc/"', [Held.PART]),
        ("tetragon", 'deny-path = ["/etc/**", "/**/x"]\nallow-path = "/etc/x"', [Held.PART, Held.NOT, Held.WIDER]),
        ("tetragon", 'deny-net = "any:"', [Held.NOT]),
    ],
)
def test_how_far_a_rule_is_held(target, rules, wanted):
    assert held(rules, target) == wanted


def test_sendto_is_overridden_where_it_has_an_address():
    (found,) = loaded('deny = "connect"', "tetragon")
    (probe,) = [one for one in found["spec"]["kprobes"] if one["call"] == "sys_sendto"]
    assert probe["args"] == [{"index": 4, "type": "uint64"}]
    assert probe["selectors"][0]["matchArgs"] == [{"index": 4, "operator": "NotEqual", "values": ["0"]}]
    (listed,) = found["spec"]["lists"]
    assert {f"sys_{call}" for call in ADDRESS_IN_MEMORY} <= set(listed["values"])
