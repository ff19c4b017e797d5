"""Policies as configurations of Landlock: this kernel refuses under them what the policy refuses."""

from __future__ import annotations

import errno
import json
import os
import socket

import landlocked
import pytest
from handed_paths import policies
from hypothesis import HealthCheck, given, settings

from isotrace.handover import targets
from isotrace.handover.model import Held, Setting
from isotrace.handover.places import refuses
from isotrace.policy import Group, PathRequest, Policy, decide, file, patterns
from isotrace.policy.patterns import Pattern

needs_landlock = pytest.mark.skipif(landlocked.abi() < 6, reason="needs Landlock with ABI 6")


def kind(path):
    return "directory" if os.path.isdir(path) else "file" if os.path.exists(path) else None


def exported(rules, kinds=kind):
    return targets.export(file.read(f"version = 1\n[groups.g]\n{rules}\n"), "landlock", Setting(kind=kinds))


def config(rules):
    return json.loads(exported(rules).text)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Directories and programs by the names of handed_paths, two deep."""
    top = tmp_path_factory.mktemp("tree")
    for first in ("a", "b", "x y"):
        for second in ("a", "ab"):
            (top / first / second).mkdir(parents=True)
            for name in ("a", "b", "x y"):
                _program(top / first / second / name)
        _program(top / first / "b")
    _program(top / "ab")
    return top


def _program(path):
    path.write_text("no format that the kernel knows")
    path.chmod(0o755)


def placed(policy, top):
    """The policy with its patterns below a directory, but for the one on everything."""
    where = patterns.parse(str(top)).components

    def below(rule):
        here = rule.pattern if rule.asked == "/**" and not rule.allow else Pattern((*where, *rule.pattern.components))
        return type(rule)(rule.asked, rule.allow, rule.access, here, rule.action, rule.group)

    return Policy((Group("g", tuple(map(below, policy.rules))),))


def attempt(path, letter):
    """Whether the access goes through; what is made for that is removed before."""
    try:
        if letter == "x":
            os.execv(path, [path])
        if os.path.isdir(path):
            os.listdir(path) if letter == "r" else os.mkdir(f"{path}/new")
        else:
            os.close(os.open(path, os.O_RDONLY if letter == "r" else os.O_WRONLY))
    except OSError as error:
        return error.errno == errno.ENOEXEC or (error.errno == errno.EACCES and None)
    return True


@needs_landlock
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policy=policies())
def test_nothing_goes_through_that_the_policy_denies(tree, policy):
    policy = placed(policy, tree)
    handed = targets.export(policy, "landlock", Setting(kind=kind))
    made = json.loads(handed.text)
    if not made["ruleset"][0]:
        return
    paths = sorted(map(str, tree.rglob("*")))
    asked = [(path, letter) for path in paths for letter in "rwx" if letter != "x" or not os.path.isdir(path)]
    went = landlocked.under(made, lambda: [bool(attempt(*one)) for one in asked])
    for path in paths:
        if path.endswith("/new"):
            os.rmdir(path)
    handled = {"r": "read_file", "w": "write_file", "x": "execute"}
    for (path, letter), through in zip(asked, went, strict=True):
        probe = f"{path}/new" if letter == "w" and os.path.isdir(path) else path
        rule = decide(policy, PathRequest(probe, frozenset(letter))).rule
        held = handled[letter] in made["ruleset"][0].get("handledAccessFs", ())
        if held and rule is not None and refuses(rule):
            assert not through, (path, letter)
        elif not through:
            assert any("denied" in why for one in handed.findings for why in one.why), (path, letter)
    for path in sorted(map(str, tree.rglob("new"))):
        os.rmdir(path)


@needs_landlock
def test_files_are_read_where_a_rule_says_so(tmp_path):
    for name in ("shown", "hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    (tmp_path / "one").write_text("one")
    made = config(f'deny-path = "r:/**"\nallow-path = ["r:{tmp_path}/shown/**", "r:{tmp_path}/one"]')

    def child():
        return [attempt(str(tmp_path / name), "r") for name in ("shown/x", "shown", "one", "hidden/x", "hidden")]

    assert landlocked.under(made, child) == [True, True, True, None, None]


@needs_landlock
def test_ports_of_tcp_are_refused_but_some():
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    other = socket.create_server(("127.0.0.1", 0))
    made = config(f'deny-net = "any:"\nallow-net = "tcp:*:{port}"')

    def child():
        found = []
        for one in (port, other.getsockname()[1]):
            with socket.socket() as own:
                found.append(own.connect_ex(("127.0.0.1", one)))
        return found

    assert landlocked.under(made, child) == [0, errno.EACCES]


@needs_landlock
def test_abstract_sockets_of_others_are_refused():
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0isotrace-{os.getpid()}")
        server.listen()

        def child():
            with socket.socket(socket.AF_UNIX) as own:
                return own.connect_ex(server.getsockname())

        assert landlocked.under(config('deny-net = "unix:"'), child) == errno.EPERM


def test_the_form_is_that_of_landlock_config():
    rules = 'deny-path = "/**"\nallow-path = ["r:/a b", "/c/**"]\n'
    rules += 'deny-net = ["any:", "unix:"]\nallow-net = "tcp:*:80-81"'
    found = json.loads(exported(rules, lambda path: "file" if path == "/a b" else "directory").text)
    assert set(found) == {"abi", "ruleset", "pathBeneath", "netPort"} and found["abi"] == 6
    assert set(found["ruleset"][0]) == {"handledAccessFs", "handledAccessNet", "scoped"}
    names = {right for entry in found["pathBeneath"] for right in entry["allowedAccess"]}
    assert names | set(found["ruleset"][0]["handledAccessFs"]) <= set(landlocked.FS)
    assert {"allowedAccess": ["read_file"], "parent": ["/a b"]} in found["pathBeneath"]
    assert found["netPort"] == [{"allowedAccess": ["bind_tcp", "connect_tcp"], "port": [80, 81]}]


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ('deny-path = "r:/**"', [Held.EXACT]),
        ('deny-path = "w:/**"', [Held.PART]),
        ('deny-path = "x:/**"', [Held.PART]),
        ('deny-path = "r:/etc/shadow"', [Held.NOT]),
        ('deny-path = ["r:/**", "r:/f/x"]\nallow-path = "r:/f/**"', [Held.EXACT, Held.EXACT, Held.WIDER]),
        (
            'deny-path = "r:/**"\nallow-path = ["r:/f", "r:/d", "r:/none/**", "r:/*"]',
            [Held.EXACT, Held.EXACT, *[Held.WIDER] * 3],
        ),
        ('deny-path = "r:/**"\naction = "kill"', [Held.PART]),
        ('deny-net = "any:"\nallow-net = "::1"', [Held.PART, Held.WIDER]),
        ('deny-net = ["tcp:", "tcp:10.0.0.1:80"]\nallow-net = "tcp::80"', [Held.PART, Held.PART, Held.WIDER]),
        ('deny-net = ["udp:", "tcp::25", "unix:/x", "unix:@a"]', [Held.NOT] * 4),
        ('deny = "ptrace"', [Held.NOT]),
    ],
)
def test_how_far_a_rule_is_held(rules, wanted):
    kinds = {"/f": "file", "/d": "directory"}
    assert [finding.held for finding in exported(rules, kinds.get).findings] == wanted


def test_a_hostile_name_is_one_string_and_no_variable():
    rules = """deny-path = "r:/**"\nallow-path = ['r:/a "b"\\\\x/**', 'r:/${HOME}/**']"""
    found = exported(rules, lambda _: "directory")
    assert json.loads(found.text)["pathBeneath"][0]["parent"] == ['/a "b"\\x']
    assert [one.held for one in found.findings] == [Held.EXACT, Held.EXACT, Held.WIDER]
