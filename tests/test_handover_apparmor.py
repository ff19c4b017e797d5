"""Policies as profiles of AppArmor: its parser takes them, and by its own expressions they allow nothing that is denied."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

import pytest
from handed_paths import PATHS, policies
from hypothesis import given, settings

from isotrace.handover import apparmor, targets
from isotrace.handover.model import Held, Setting
from isotrace.handover.places import refuses
from isotrace.policy import PathRequest, decide, file, patterns

pytestmark = pytest.mark.skipif(shutil.which("apparmor_parser") is None, reason="needs apparmor_parser")


def exported(rules):
    return targets.export(file.read(f"version = 1\n[groups.g]\n{rules}\n"), "apparmor", Setting("worker"))


def parsed(text, *words):
    run = subprocess.run(["apparmor_parser", "-QK", *words], input=text, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stderr


@cache
def expression(pattern):
    """What the parser makes of a quoted name, as a regular expression."""
    found = re.search(
        r"^aare: (/.*?)   ->   (.*)$", parsed(f"profile x {{ {pattern} r, }}", "-D", "rule-exprs"), re.MULTILINE
    )
    return re.compile(found[2].replace("?", r"\?"))  # a letter like others there


def allows(text, path, letter):
    """Whether a profile lets a file be read, written or executed; a directory's name may end in a slash."""
    held = {"r": "r", "w": "w", "x": "x"}[letter]
    allowed = refused = False
    for deny, pattern, perms in re.findall(r'^  (deny |audit )?(".*") ([a-z]+),$', text, re.MULTILINE):
        if held in perms and any(expression(pattern).fullmatch(name) for name in (path, path.rstrip("/") + "/")):
            allowed, refused = allowed or deny != "deny ", refused or deny == "deny "
    return allowed and not refused


@pytest.mark.parametrize(
    "rules",
    [
        'deny-path = ["w:/**", "/root/"]\nallow-path = "w:/srv/**"\ndeny-net = ["any:", "unix:/run/x"]\nallow-net = "::1"',
        'deny-path = "/**"\nallow-path = ["r:/usr/**", "x:/usr/bin/*", "/a/**/b*c"]\naction = "audit"',
        'deny-net = ["tcp:", "udp:", "unix:@a\\"b*", "unix:"]',
        r"""deny-path = ["/a b/\"c\"/", "/50%/\\*x\\\\/**", "w:/é'$(id)`/;#@{x}", "x:/-+!?[a-z]/{b,c}^,/${HOME}"]""",
    ],
)
def test_the_parser_takes_it(rules):
    parsed(exported(rules).text)


@pytest.mark.parametrize(
    ("text", "paths", "others"),
    [
        ("/etc/shadow", ["/etc/shadow"], ["/etc/shadows", "/etc/shado", "/etc/shadow/x"]),
        ("/etc/", ["/etc", "/etc/x", "/etc/x/y"], ["/etcx", "/"]),
        ("/home/*/.ssh/**", ["/home/a/.ssh", "/home/a/.ssh/x/y"], ["/home/.ssh/x", "/home/a/b/.ssh/x"]),
        ("/srv/**/key", ["/srv/key", "/srv/a/key", "/srv/a/b/key"], ["/srvkey", "/srv/akey", "/srv/key/x"]),
        (r"/a\*\\[b]{c,d}?^@{e} \"\,", ['/a*\\[b]{c,d}?^@{e} ",'], ["/aa", "/a*", '/a*\\b{c,d}?^@{e} ",']),
        ("/**", ["/", "/a", "/a/b"], []),
    ],
)
def test_a_name_means_what_the_pattern_means(text, paths, others):
    pattern = patterns.parse(text)
    found = expression(apparmor.name(pattern))
    for path in paths:
        assert pattern.matches(path) and found.fullmatch(path)
    for path in others:
        assert not pattern.matches(path) and not found.fullmatch(path)


@settings(max_examples=60, deadline=None)
@given(policies())
def test_nothing_is_allowed_that_the_policy_denies(policy):
    handed = targets.export(policy, "apparmor", Setting("worker"))
    without_above = re.sub(r'^  deny ".*/(\{,\*\*/\})?" w,$', "", handed.text, flags=re.MULTILINE)
    for path in PATHS:
        for letter in "rwx":
            rule = decide(policy, PathRequest(path, frozenset(letter))).rule
            if rule is not None and refuses(rule):
                assert not allows(handed.text, path, letter), (path, letter)
            elif not allows(without_above, path, letter):
                assert any(one.held is Held.WIDER or one.rule.access - {letter} for one in handed.findings), (
                    path,
                    letter,
                )


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ('deny-path = "r:/etc/shadow"', [Held.EXACT]),
        ('deny-path = "rw:/etc/shadow"', [Held.PART]),
        ('deny-path = "r:/**"\nallow-path = "r:/srv/**"', [Held.EXACT, Held.EXACT]),
        ('deny-path = "r:/srv/**"\nallow-path = "r:/srv/a"', [Held.EXACT, Held.WIDER]),
        ('deny-path = "r:/a"\naction = "kill"', [Held.PART]),
        ('deny-path = "r:/a"\naction = "ask"', [Held.WIDER]),
        ('deny-path = "r:/a"\naction = "audit"', [Held.EXACT]),
        ('deny-net = "any:"\nallow-net = "::1"', [Held.WIDER, Held.WIDER]),
        ('deny-net = "10.0.0.0/8"', [Held.NOT]),
        ('deny-net = "unix:/run/x"', [Held.PART]),
        ('deny-net = ["unix:/**", "unix:@*"]', [Held.WIDER, Held.WIDER]),
        ('deny = "ptrace"', [Held.NOT]),
    ],
)
def test_how_far_a_rule_is_held(rules, wanted):
    assert [finding.held for finding in exported(rules).findings] == wanted


def test_directories_above_what_is_refused_do_not_move():
    text = exported('deny-path = "r:/srv/app/key"').text
    assert not allows(text, "/srv/app", "w") and not allows(text, "/srv", "w")
    assert allows(text, "/srv/app/other", "w")
    assert "mount," not in text


@pytest.mark.parametrize("rules", ['deny-path = "w:/srv/**"', 'deny-net = "tcp:"'])
def test_what_it_allows_beside_the_rules_is_said(rules):
    handed = exported(rules)
    said = " ".join(handed.notes)
    words = {"capability": "capability", "dbus": "D-Bus", "signal": "signal", "mount": "mounts", "ptrace": "tracing"}
    allowed = {line.strip().rstrip(",") for line in handed.text.splitlines()}
    assert {"capability", "dbus", "signal"} <= allowed
    assert all(words[one] in said and "allowed" in said for one in allowed & words.keys())
