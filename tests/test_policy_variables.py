"""{cwd}, {home}, {tmp} and their like in policy files: what they stand for, and that no name widens a rule."""

from __future__ import annotations

import os
import pwd
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrace.errors import UsageError
from isotrace.policy import PathRequest, decide, file, variables
from isotrace.policy.file import PolicyError
from isotrace.process import directories
from isotrace.process.directories import Directory

VARIABLES = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "SUDO_UID", "SUDO_GID")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """Ann, at home in tmp_path/ann, works in tmp_path/ann/work."""
    home = tmp_path / "ann"
    (home / "work").mkdir(parents=True)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "work")
    monkeypatch.setattr(directories, "_passwd", lambda: str(home))
    return home


def read(key, *words):
    quoted = ", ".join(map(file.string, words))
    return file.read(f"version = 1\n[groups.a]\ndeny = 'ptrace'\n{key} = [{quoted}]\n")


def titles(key, *words):
    return [rule.title for rule in read(key, *words).rules[1:]]


def test_names_stand_for_directories_of_whoever_started_isotrace(surroundings, monkeypatch):
    home = str(surroundings)
    assert titles("allow-path", "w:{cwd}/**", "{home}/.npm/", "rw:{tmp}/x", "{cache}/**", "{config}/a", "{data}/b") == [
        f"allow-path w:{home}/work/**",
        f"allow-path {home}/.npm/",
        "allow-path rw:/tmp/x",
        f"allow-path {home}/.cache/**",
        f"allow-path {home}/.config/a",
        f"allow-path {home}/.local/share/b",
    ]
    monkeypatch.setenv("TMPDIR", "/var//tmp/./ann/")
    assert titles("deny-path", "w:{tmp}") == ["deny-path w:/var/tmp/ann"]
    assert titles("allow-net", "unix:{tmp}/s") == ["allow-net unix:/var/tmp/ann/s"]


def test_a_denial_is_for_each_directory_and_an_exception_for_the_one_that_programs_use(surroundings, monkeypatch):
    monkeypatch.setattr(directories, "_passwd", lambda: "/home/ann")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/srv/config")
    home = str(surroundings)
    assert titles("deny-path", "{home}/.ssh/") == [f"deny-path {home}/.ssh/", "deny-path /home/ann/.ssh/"]
    assert titles("allow-path", "{home}/.ssh/") == [f"allow-path {home}/.ssh/"]
    each = ["/srv/config", f"{home}/.config", "/home/ann/.config"]
    assert titles("deny-path", "{config}/gh/") == [f"deny-path {one}/gh/" for one in each]
    assert titles("allow-path", "{config}/gh/") == ["allow-path /srv/config/gh/"]


def test_sudos_caller_has_the_home_that_the_command_gets(surroundings, monkeypatch):
    ann = SimpleNamespace(pw_uid=1234, pw_gid=1234, pw_name="ann", pw_dir="/home/ann", pw_shell="/bin/sh")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: ann)
    monkeypatch.setenv("SUDO_UID", "1234")
    assert titles("deny-path", "{home}/.ssh/") == ["deny-path /home/ann/.ssh/"]


def test_a_caller_of_sudo_without_a_home_has_none_of_roots(surroundings, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "3999999")
    monkeypatch.setenv("SUDO_GID", "3999999")
    with pytest.raises(UsageError, match="the home of 3999999 is the root directory") as raised:
        read("deny-path", "{home}/.ssh/")
    assert "passwd" in raised.value.hint


@given(
    st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=20).filter(
        lambda name: name not in (".", "..")
    ),
    st.text(st.sampled_from("abc*\\{}"), min_size=1, max_size=20),
)
def test_a_name_is_taken_letter_by_letter(name, other):
    named = {"cwd": (Directory(f"/srv/{name}", "it"),)}.__getitem__
    try:
        (word,) = variables.expand("w:{cwd}/**", allow=True, named=named)
    except UsageError as error:
        assert not name.isprintable() and "cannot be named" in error.message
        return
    policy = file.read(f"version = 1\n[groups.a]\ndeny-path = 'w:/**'\nallow-path = {file.string(word)}\n")
    assert not decide(policy, PathRequest(f"/srv/{name}/f", frozenset("w"))).denied
    assert decide(policy, PathRequest(f"/srv/{other}/f", frozenset("w"))).denied is (other != name)
    assert decide(policy, PathRequest("/srv/f", frozenset("w"))).denied


@pytest.mark.parametrize(
    ("word", "variable", "value", "says"),
    [
        ("w:{cwd}/**", "", "/", 'the working directory is "/", the root directory'),
        ("w:{cwd}/", "", "..", "a home directory, or has one in it"),
        ("{cwd}/./*/x", "", "../..", "a home directory, or has one in it"),
        ("r:{cwd}/**", "", "/etc", "a directory of the system"),
        ("w:{tmp}/**", "TMPDIR", "/", 'TMPDIR is "/", the root directory'),
        ("w:{tmp}/**", "TMPDIR", "/tmp/../usr", "a directory of the system"),
        ("w:{tmp}/**", "TMPDIR", "//", "the root directory"),
        ("w:{tmp}/**", "TMPDIR", "link", "which is not absolute"),
        ("w:{tmp}/x", "TMPDIR", "/tmp/a\nb", "cannot be named"),
        ("w:{cache}/**", "XDG_CACHE_HOME", "{home}", "a home directory, or has one in it"),
        ("w:{data}/**", "XDG_DATA_HOME", "{home}/link", "the root directory"),
        ("w:{home}/.npm/**", "HOME", "/", "HOME is the root directory"),
        ("w:{home}/.npm/**", "HOME", "ann", "which is not absolute"),
    ],
)
def test_a_directory_that_would_widen_a_rule_is_turned_down(surroundings, monkeypatch, word, variable, value, says):
    (surroundings / "link").symlink_to("/")
    if variable:
        monkeypatch.setenv(variable, value.replace("{home}", str(surroundings)))
    else:
        monkeypatch.chdir(value)
    with pytest.raises(UsageError) as raised:
        read("allow-path", word)
    assert says in raised.value.message and raised.value.hint


def test_what_is_no_exception_for_all_of_it_is_taken(monkeypatch):
    monkeypatch.chdir("/etc")
    assert titles("deny-path", "w:{cwd}/**") == ["deny-path w:/etc/**"]
    assert titles("allow-path", "w:{cwd}/motd", "w:{tmp}/**") == ["allow-path w:/etc/motd", "allow-path w:/tmp/**"]


def test_a_working_directory_that_is_gone(surroundings, monkeypatch):
    (surroundings / "gone").mkdir()
    monkeypatch.chdir(surroundings / "gone")
    (surroundings / "gone").rmdir()
    with pytest.raises(UsageError, match="there is no working directory"):
        read("allow-path", "w:{cwd}/**")


@pytest.mark.parametrize(
    ("key", "word", "says"),
    [
        ("deny-path", "{hom}/x", "did you mean {home}?"),
        ("deny-path", "w:{}/x", "one of {cwd}, "),
        ("deny-path", "{home}x", "goes on without a slash"),
        ("allow-path", "w:{cwd}/a/../../b", "leads out of {cwd}"),
        ("deny-path", "q:{cwd}/a", "unknown access"),
        ("deny-path", "{cwd}/a**", "** is not a whole component"),
        ("deny-net", "unix:{x}", "no directory is called"),
        ("deny-net", "tcp:{cwd}", "no address or network"),
    ],
)
def test_mistakes_are_reported_with_their_line(key, word, says):
    with pytest.raises(PolicyError) as raised:
        read(key, word)
    ((line, _, what),) = raised.value.mistakes
    assert line == 4 and says in what


def test_braces_elsewhere_are_letters():
    assert titles("deny-path", "/srv/{cwd}/x", "w:/{home}") == ["deny-path /srv/{cwd}/x", "deny-path w:/{home}"]
