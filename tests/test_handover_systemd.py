"""Policies as drop-ins of systemd's units: systemd-analyze takes them, and they allow nothing that the policy denies."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from handed_paths import PATHS
from handed_paths import policies as path_policies
from hypothesis import given, settings
from test_handover_seccomp import denies, policies

from isotrace import catalog
from isotrace.handover import targets
from isotrace.handover.model import Held, Setting
from isotrace.handover.places import refuses
from isotrace.policy import PathRequest, decide, file

analyzed = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def read(rules):
    return file.read(f"version = 1\n[groups.g]\n{rules}\n")


def exported(rules, directories=()):
    kind = lambda path: "directory" if path in directories else "file"  # noqa: E731
    return targets.export(read(rules), "systemd", Setting(kind=kind))


def lines(rules, directories=()):
    found = exported(rules, directories).text.splitlines()
    return [line for line in found if not line.startswith(("[", "SystemCall", "Capability"))]


def held(rules, directories=()):
    return [finding.held for finding in exported(rules, directories).findings]


def verified(text, where):
    """What systemd-analyze says of a unit with the drop-in, but for calls that its libseccomp does not know."""
    (where / "t.service").write_text("[Service]\nExecStart=/bin/true\n")
    (where / "t.service.d").mkdir()
    (where / "t.service.d" / "isotrace.conf").write_text(text)
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "./t.service"], cwd=where, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{where}:"}, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return [line for line in run.stderr.splitlines() if "Failed to parse system call" not in line]


WORKER = """\
action = "EACCES"
deny = ["ptrace", "@mount", "connect"]
deny-path = ["w:/**", "/root/", "x:/tmp/**"]
allow-path = ["w:/srv/workers/**", "x:/tmp/tool"]
deny-net = ["any:", "unix:/run/docker.sock"]
allow-net = ["127.0.0.0/8", "::1", "tcp:10.0.0.1:443"]
"""
HIDDEN = """\
deny-path = "/**"
allow-path = ["r:/usr/**", "rw:/srv/x/**", "r:/etc/hosts", "r:/etc/ssl", "r:/home/*/x", "w:/var/log/y", "x:/usr/bin/sh"]
"""
HOSTILE = r"""
deny-path = ["/a b/\"c\"/", "/50%/\\*x\\\\/**", "w:/é'$(id)`/;#@{x}", "x:/-+!/%n/${HOME}"]
"""


@analyzed
@pytest.mark.parametrize("rules", [WORKER, HIDDEN, HOSTILE, 'deny = "all"', 'deny = ["=chmod"]\naction = "kill"'])
def test_systemd_takes_it_without_a_word(tmp_path, rules):
    assert verified(exported(rules).text, tmp_path) == []


@analyzed
def test_systemd_would_say_what_is_wrong(tmp_path):
    assert verified("[Service]\nInaccessiblePaths=x\nNonsense=1\n", tmp_path) != []


@settings(max_examples=25, deadline=None)
@given(policies())
def test_calls_that_the_policy_denies_are_not_allowed(policy):
    text = targets.export(policy, "systemd").text
    allowed = {word for row in re.findall(r"^SystemCallFilter=([^~].*)$", text, re.MULTILINE) for word in row.split()}
    taken = {word for row in re.findall(r"^SystemCallFilter=~(.*)$", text, re.MULTILINE) for word in row.split()}
    assert "SystemCallArchitectures=native\n" in text
    for name in catalog.by_name("x86_64"):
        denied = denies(policy, name, False) or denies(policy, name, True)
        assert not (denied and name in allowed), name
        assert not denied or name in taken, "what systemd allows by itself is taken away"


def test_paths_become_mounts():
    assert lines(WORKER) == [
        'InaccessiblePaths="/root"', 'InaccessiblePaths="/run/docker.sock"', 'ReadOnlyPaths="/"',
        'ReadWritePaths="-/srv/workers"', 'NoExecPaths="/root"', 'NoExecPaths="/tmp"', 'ExecPaths="-/tmp/tool"',
        "IPAddressDeny=any", "IPAddressAllow=127.0.0.0/8 ::1/128",
        "RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_ALG AF_INET AF_INET6",
    ]  # fmt: skip


def test_what_is_let_through_in_a_hidden_place_is_bound_there():
    assert lines(HIDDEN, {"/etc/ssl"}) == [
        'TemporaryFileSystem="/:ro"', 'BindReadOnlyPaths="-/usr"', 'BindReadOnlyPaths="-/etc/hosts"',
        'BindPaths="-/srv/x"', 'NoExecPaths="/"', 'ExecPaths="-/usr/bin/sh"',
    ]  # fmt: skip
    wider, exact = Held.WIDER, Held.EXACT
    assert held(HIDDEN, {"/etc/ssl"}) == [wider, exact, exact, exact, wider, wider, wider, exact]


def test_a_directory_is_not_bound_where_only_itself_may_be_read():
    assert 'BindReadOnlyPaths="-/etc/ssl"' in lines(HIDDEN)
    assert not any("/etc/ssl" in line for line in lines(HIDDEN, {"/etc/ssl"}))


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ('deny-path = "/home/*/.ssh/"', [Held.NOT]),
        ('deny-path = "w:/etc/"', [Held.PART]),
        ('deny-path = "/etc/shadow"', [Held.WIDER]),
        ('deny-path = "/etc/"', [Held.EXACT]),
        ('deny-path = "r:/etc/"', [Held.WIDER]),
        ('deny-path = "x:/tmp/"', [Held.EXACT]),
        ('deny-net = "tcp::25"', [Held.NOT]),
        ('deny-net = "any:"', [Held.WIDER]),
        ('deny-net = "10.0.0.0/8"', [Held.PART]),
        ('deny-net = ["any:", "tcp:10.0.0.1:25"]\nallow-net = "10.0.0.0/8"', [Held.WIDER, Held.WIDER, Held.WIDER]),
        ('deny-net = "unix:"\nallow-net = "unix:/run/x"', [Held.WIDER, Held.WIDER]),
        ('deny-net = "unix:@x"', [Held.NOT]),
        ('deny-net = ["unix:/**", "unix:@*"]', [Held.WIDER, Held.WIDER]),
        ('deny = ["ptrace"]\naction = "audit"', [Held.EXACT]),
        ('deny-path = "/x"\naction = "audit"', [Held.NOT]),
        ('deny-path = "/etc/"\naction = "kill"', [Held.PART]),
        ('deny-path = "/etc/"\naction = "ask"', [Held.WIDER]),
    ],
)  # fmt: skip
def test_how_far_a_rule_is_held(rules, wanted):
    assert held(rules) == wanted


def test_a_colon_has_no_mount_that_is_bound():
    assert held('deny-path = "/a:b/"\nallow-path = "/a:b/c"')[0] is Held.NOT


def test_an_exception_wins_there_and_so_is_left_out_where_something_in_it_is_refused():
    found = lines('deny-net = ["any:", "10.1.0.0/16"]\nallow-net = ["10.0.0.0/8", "192.0.2.0/24"]')
    assert "IPAddressAllow=192.0.2.0/24" in found


def test_what_goes_round_mounts_is_refused_with_them():
    text = exported('deny-path = "/etc/"').text
    taken = " ".join(re.findall(r"^SystemCallFilter=~(.*)$", text, re.MULTILINE)).split()
    assert {"mount", "umount2", "open_by_handle_at", "move_mount", "setns"} <= set(taken)
    assert "CAP_SYS_ADMIN" in text


def mounted(text, path):
    """(hidden, read-only, not executable) of a path, by the mounts of a unit: the longest that has it counts."""
    found = re.findall(r'^(\w+)="-?(.*?)(?::ro)?"$', text, re.MULTILINE)
    here = sorted(
        ((len(where.rstrip("/")), key) for key, where in found if f"{path}/".startswith(where.rstrip("/") + "/")),
        reverse=True,
    )

    def longest(*keys):
        return next((key for _, key in here if key in keys), "")

    shown = longest("TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths")
    hidden = bool(longest("InaccessiblePaths")) or shown == "TemporaryFileSystem"
    writing = longest("ReadOnlyPaths", "ReadWritePaths", "BindPaths", "BindReadOnlyPaths", "TemporaryFileSystem")
    return (
        hidden,
        writing not in ("", "ReadWritePaths", "BindPaths"),
        longest("NoExecPaths", "ExecPaths") == "NoExecPaths",
    )


def known(path):
    return "directory" if any(other.startswith(path.rstrip("/") + "/") for other in PATHS if other != path) else "file"


@settings(max_examples=300, deadline=None)
@given(path_policies())
def test_mounts_let_nothing_through_that_the_policy_denies(policy):
    handed = targets.export(policy, "systemd", Setting(kind=known))
    lost = {id(one.rule) for one in handed.findings if one.held is Held.NOT}
    for path in PATHS:
        hidden, readonly, inert = mounted(handed.text, path)
        outcomes = {"r": hidden, "w": hidden or readonly, "x": hidden or inert}
        for letter, refused in outcomes.items():
            rule = decide(policy, PathRequest(path, frozenset(letter))).rule
            if rule is not None and refuses(rule) and id(rule) not in lost:
                assert refused, (path, letter)
            elif refused and not (rule is not None and refuses(rule)):
                assert any(one.held in (Held.WIDER, Held.NOT, Held.PART) for one in handed.findings), (path, letter)
