"""The policies that come with isotrace: named wherever a file is, shown as they are, and of a kind that can be held."""

from __future__ import annotations

import tomllib
from ipaddress import ip_address
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner
from test_enforce_plan import ALL_BUILT, COMMAND, findings

import isotrace
from isotrace.cli import cli
from isotrace.enforce import describe, plan, registry
from isotrace.enforce.hooks import lsm
from isotrace.enforce.hooks.objects import ANCHOR_GLOBS, Anchors
from isotrace.enforce.tables import RuleTable
from isotrace.errors import UsageError
from isotrace.learning.base import base
from isotrace.policy import Action, NetRequest, PathRequest, PathRule, assemble, decide, file
from isotrace.policy.decide import CallRequest, SocketRequest
from isotrace.process import directories

ROOT = Path(__file__).parents[1]
NAMES = ("@agent", "@build", "@install")
HOST = ip_address("192.0.2.1")
STRICT = ("@agent", "@install")
NO_WORDS: dict[str, tuple[str, ...]] = dict.fromkeys(("deny", "deny_path", "allow_path", "deny_net", "allow_net"), ())


@pytest.fixture(autouse=True)
def ann(monkeypatch, tmp_path):
    for name in ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "SUDO_UID"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "ann"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(directories, "_passwd", lambda: str(home))
    monkeypatch.chdir(home / "work")
    return str(home)


def run(*words):
    return CliRunner().invoke(cli, ["policy", *words], catch_exceptions=False)


def error(*words):
    found = CliRunner().invoke(cli, [*words]).exception
    assert isinstance(found, UsageError), found
    return found


# ---- by name --------------------------------------------------------------------------------------------------------


def test_they_are_listed_and_shown_as_they_are_in_the_package():
    listed = run("show").output.splitlines()
    assert [line.split()[0] for line in listed] == list(NAMES) and all(len(line.split()) > 5 for line in listed)
    for name in NAMES:
        shipped = Path(isotrace.__file__).parent / "policy/shipped" / f"{name[1:]}.toml"
        assert run("show", name).output == shipped.read_text()
        assert tomllib.loads(run("show", name).output)["version"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_taken_where_a_file_is(name, tmp_path):
    copy = tmp_path / "copy.toml"
    copy.write_text(run("show", name).output)
    assert run("check", name).output == run("check", str(copy)).output.replace(str(copy), name)
    assert run("explain", name).exit_code == 0
    assert (run("diff", name, str(copy)).exit_code, run("diff", name, str(copy)).output) == (0, "")
    exported = run("export", name, "--to", "seccomp", "--group", "kernel", "--report", "none")
    assert exported.exit_code == 0 and "kexec_load" in exported.output
    assert assemble.policy(NO_WORDS, Action(), name).rules == file.load(str(copy)).rules


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("@agnet", "did you mean @agent? A file of that name is ./@agnet"),
        ("@Build", "did you mean @build?"),
        ("@", "one of @agent, @build, @install"),
        ("@../../policy/shipped/agent", "@agent"),
        ("@x\n\033[2J", "one of"),
    ],
)
def test_a_name_that_there_is_not(name, hint, tmp_path):
    for words in (
        ["show", name],
        ["check", name],
        ["explain", name],
        ["diff", name, "@agent"],
        ["test", name, "x.arrow"],
    ):
        found = error("policy", *words)
        assert "no preset is called" in found.message and hint in found.hint and found.message.isprintable()
    assert "no preset" in error("block", "--policy", name, "--", "true").message
    assert "no preset" in error("ask", "--ask", "mount", "--policy", name, "--", "true").message
    assert not Path(name).exists()


def test_show_wants_the_sign():
    assert "did you mean @agent?" in error("policy", "show", "agent").hint


def test_a_file_of_such_a_name_is_one_with_its_directory():
    Path("@agent").write_text("version = 1\n[groups.mine]\ndeny = 'mount'\n")
    assert run("check", "./@agent").output == "./@agent: 1 rule in mine\n"
    assert run("check", "@agent").output != run("check", "./@agent").output


def test_a_preset_is_not_written_to():
    found = error("learn", "-o", "@build", "--", "true")
    assert "cannot be changed" in found.message and "isotrace policy show @build > FILE" in found.hint
    assert not Path("@build").exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["/", "/usr", "..", "../.."])
def test_where_it_would_allow_too_much_nothing_starts(name, where, monkeypatch):
    monkeypatch.chdir(where)
    found = error("block", "--policy", name, "--", "true")
    assert "would except too much: the working directory is" in found.message and found.status == 2


@pytest.fixture
def apart(monkeypatch):
    """A home that is in no temporary directory."""
    home = "/nonexistent/ann"
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(directories, "_passwd", lambda: home)
    monkeypatch.setitem(directories._KNOWN, "cwd", lambda: (directories.Directory(f"{home}/work", "it"),))
    return home


# ---- what they mean -------------------------------------------------------------------------------------------------


def denied(policy, path, letters):
    return decide(policy, PathRequest(path, frozenset(letters))).denied


@pytest.mark.parametrize("name", NAMES)
def test_it_writes_where_it_works_and_nowhere_else(name, apart):
    policy = file.load(name)
    for path in (f"{apart}/work/a", f"{apart}/work/a/b", "/tmp/x", "/var/tmp/x", "/dev/null", "/dev/pts/3"):
        assert not denied(policy, path, "w")
    for path in (
        apart,
        f"{apart}/.bashrc",
        f"{apart}/.ssh/authorized_keys",
        "/etc/x",
        "/usr/bin/x",
        "/dev/sda",
        "/proc/1/mem",
        "/",
    ):
        assert denied(policy, path, "w")
    assert denied(policy, f"{apart}/.cache/pip/x", "w") is (name == "@agent")


@pytest.mark.parametrize("name", STRICT)
def test_the_secrets_that_learn_warns_of_are_secrets(name, apart):
    policy, other = file.load(name), {"/**/.env"}
    own = {"/proc/*/environ", "/proc/*/mem"}  # of others: Landlock and ptrace
    tokens = {"/**/.npmrc"} if name == "@install" else set()
    for rule in base().secrets:
        if rule.asked in other | own | tokens:
            continue
        path = rule.asked.replace("/home/*", apart).replace("/root", apart).replace("/**/", f"{apart}/", 1)
        path = path.replace("**", "x").replace("*", "x")
        assert denied(policy, path, "r"), path
    for path in (f"{apart}/work/.env", f"{apart}/.gitconfig", "/etc/passwd", "/usr/bin/env", "/proc/self/stat"):
        assert not denied(policy, path, "r")


@pytest.mark.parametrize(("name", "ports"), [("@agent", {443}), ("@install", {443, 53}), ("@build", set())])
def test_it_reaches_few_ports(name, ports):
    policy = file.load(name)
    found = {port for port in range(1 << 10) if not decide(policy, NetRequest("tcp", HOST, port)).denied}
    assert found == ports
    assert decide(policy, NetRequest("udp", HOST, 53)).denied is (not ports)
    assert decide(policy, SocketRequest(40, 1, 0)).denied and decide(policy, SocketRequest(2, 3, 6)).denied


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_stays_as_it_is(name):
    policy = file.load(name)
    for call in (
        "init_module",
        "finit_module",
        "bpf",
        "kexec_load",
        "kexec_file_load",
        "reboot",
        "swapon",
        "clock_settime",
        "iopl",
    ):
        assert decide(policy, CallRequest(call)).denied
    for call in ("ptrace", "process_vm_readv", "mount", "move_mount", "keyctl"):
        assert decide(policy, CallRequest(call)).denied is (name in STRICT)
    for call in ("execve", "clone", "kill", "socket", "openat", "prctl", "setsid"):
        assert not decide(policy, CallRequest(call)).denied


# ---- that it can be held --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "present",
    [
        ("landlock", *(f"landlock:{abi}" for abi in range(1, 5)), "seccomp", "seccomp_notify"),
        ("lsm_bpf", "seccomp", "seccomp_notify"),
        ("fmod_ret_security", "seccomp", "seccomp_notify"),
    ],
    ids=lambda present: present[0],
)
def test_a_command_is_held_to_all_of_it_without_loss(name, present, ann):
    policy = file.load(name)
    with mock.patch.dict(registry.BUILT, ALL_BUILT):
        made = plan.make(policy, findings(*present), COMMAND)
    assert made.ok and len(made.enforced) == len(policy.rules)
    assert not any(one.guarantees.short for one in made.all_enforced)
    assert f"allow-path w:{ann}/work/**" in "\n".join(describe.plan_lines(made))


@pytest.mark.parametrize("name", NAMES)
def test_the_programs_at_security_hooks_have_room_for_its_patterns(name):
    """Also where none of the secrets is there."""
    with mock.patch.dict(registry.BUILT, ALL_BUILT):
        made = plan.make(file.load(name), findings("lsm_bpf", "seccomp", "seccomp_notify"), COMMAND)
    held = [one for one in made.enforced if isinstance(one.rule, PathRule)]
    assert Anchors(lsm._anchor_rules(held, RuleTable())).most_globs <= ANCHOR_GLOBS


@pytest.mark.parametrize("name", NAMES)
def test_what_its_comments_name_can_be_given_beside_it(name):
    words = NO_WORDS | {"allow_net": ("tcp:*:8000-8999",), "allow_path": ("w:/home/ann/.npm/**",)}
    policy = assemble.policy(words, Action(), name)
    present = ("landlock", *(f"landlock:{abi}" for abi in range(1, 5)), "seccomp", "seccomp_notify")
    with mock.patch.dict(registry.BUILT, ALL_BUILT):
        assert plan.make(policy, findings(*present), COMMAND).ok
    assert not decide(policy, NetRequest("tcp", HOST, 8080)).denied
    assert not denied(policy, "/home/ann/.npm/x", "w")


def test_the_documentation_has_each_of_them():
    text = (ROOT / "docs/presets.md").read_text() + (ROOT / "README.md").read_text()
    assert all(f"--policy {name}" in text for name in NAMES)
