"""Policy files: what is read, and that every mistake is reported at once with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from isotrace.cli import cli
from isotrace.errors import IsotraceError
from isotrace.policy import PathRequest, assemble, decide, file
from isotrace.policy.file import PolicyError
from isotrace.policy.model import Action

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples" / "policies").glob("*.toml"))

GOOD = """\
version = 1
[groups.files]
action = "EACCES"
deny-path = ["w:/etc/**"]
allow-path = "w:/etc/motd"
[groups.calls]
action = "kill"
deny = ["open,!creat", "@module"]
"""

BAD = """\
# a comment
versio = 2

[groups.web]
action = "EFOO"
deny = ["open",
  "opne",  # not a call
  7,
]
deny_path = "/x"
deny-net = ["tcp:foo", "10.0.0.0/8",
            "10.0.0.0/99"]

[groups."1x"]
deny = "exit"
[other]
"""


def mistakes(text):
    with pytest.raises(PolicyError) as raised:
        file.read(text, "p.toml")
    return raised.value.mistakes


def test_groups_have_their_rules_and_actions():
    policy = file.read(GOOD)
    assert [group.name for group in policy.groups] == ["files", "calls"]
    assert [rule.title for rule in policy.rules] == [
        "deny-path w:/etc/**",
        "allow-path w:/etc/motd",
        "deny open,!creat",
        "deny @module",
    ]
    assert {rule.action.name for rule in policy.groups[0].rules} == {"EACCES"}
    assert policy.rules[2].action == Action("kill") and "creat" not in policy.rules[2].calls
    assert decide(policy, PathRequest("/etc/x", frozenset("w"))).rule == policy.rules[0]


def test_every_mistake_is_reported_at_once_with_its_line():
    found = [(line, key) for line, key, _ in mistakes(BAD)]
    assert found == [
        (0, "version"),
        (2, "versio"),
        (5, "groups.web.action"),
        (7, "groups.web.deny[1]"),
        (8, "groups.web.deny[2]"),
        (10, "groups.web.deny_path"),
        (11, "groups.web.deny-net[0]"),
        (12, "groups.web.deny-net[2]"),
        (14, "groups.1x"),
        (15, "groups.1x.deny[0]"),
        (16, "other"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("version = 1\n", 0, "missing"),
        ("version = 1\n[groups]\n", 2, "names no group"),
        ("version = 2\n[groups.a]\ndeny='open'\n", 1, "1"),
        ("version = 1\n\nb = \n", 3, "Invalid value"),
        ("version = 1\n[groups.a]\n", 2, "has no rule"),
        ("version = 1\ngroups = 3\n", 2, "should be a table"),
        ("version = 1\n[groups.a]\ndeny = 'open'\ndeny = 'read'\n", 4, "overwrite"),
        ("version = true\n[groups.a]\ndeny='open'\n", 1, "1"),
        ("version = 1\ngroups.a.deny = 'opne'\n", 2, "did you mean"),
        ("version = 1\ngroups = { a = { deny = ['opne'] } }\n", 2, "did you mean"),
        ("version = 1\n[groups.a]\ndeny = [\n 'open',\n 'open',\n 'exit',\n]\n", 6, "cannot be denied"),
    ],
)
def test_one_mistake(text, line, says):
    ((found, _, what),) = mistakes(text)
    assert found == line and says in what


def test_the_command_line_shows_them_all_and_ends_with_status_2(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(BAD)
    result = CliRunner().invoke(cli, ["policy", "check", str(path)])
    assert isinstance(result.exception, PolicyError) and result.exception.status == 2
    lines = result.exception.message.splitlines()
    assert lines[0] == f"11 mistakes in {path}:"
    assert all(re.match(rf"  {re.escape(str(path))}:\d+: ", line) for line in lines[1:]) and len(lines) == 12


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_accepted(path):
    result = CliRunner().invoke(cli, ["policy", "check", str(path)], catch_exceptions=False)
    assert result.exit_code == 0 and re.search(r": \d+ rules in \w+", result.output)


def test_the_examples_exist():
    assert len(EXAMPLES) >= 2


def test_the_documentations_policies_are_accepted():
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "policy.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        assert file.read(block).rules


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(IsotraceError, match="No such file"):
        file.load(str(tmp_path / "none"))
    (tmp_path / "b").write_bytes(b"version = 1\n# \xff\n")
    with pytest.raises(PolicyError) as raised:
        file.load(str(tmp_path / "b"))
    assert raised.value.mistakes == ((2, "", "not UTF-8 text"),)


def test_audit_on_the_command_line_is_for_the_file_too(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(GOOD)
    words = {"deny": ["read"], "deny_path": [], "allow_path": [], "deny_net": [], "allow_net": []}
    policy = assemble.policy(words, Action("audit"), str(path))
    assert {rule.action.kind for rule in policy.rules} == {"audit"} and len(policy.rules) == 5
    assert {rule.action.name for rule in assemble.policy(words, Action(), str(path)).rules} == {
        "EPERM",
        "EACCES",
        "kill",
    }


@given(
    st.text(max_size=60),
    st.sampled_from(["", "version = 1\n", "version = 1\n[groups.a]\n", 'version=1\n[groups.a]\ndeny="']),
)
def test_no_text_is_more_than_a_policy_error(text, head):
    try:
        file.read(head + text)
    except PolicyError as error:
        assert error.mistakes
