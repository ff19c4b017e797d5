"""Policies as seccomp profiles: what libseccomp and the kernel make of them refuses all that the policy refuses."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
from functools import cache

import pytest
import seccomp_profile as profiles
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from isotrace import catalog
from isotrace.catalog import multiplexed
from isotrace.cli import cli
from isotrace.errors import UsageError
from isotrace.handover import docker, seccomp, targets
from isotrace.handover.model import Held
from isotrace.policy import CallRequest, Group, Policy, decide, file, names
from isotrace.policy.model import Action

_LIBC = ctypes.CDLL(None, use_errno=True)
_TERMS = st.sampled_from(
    [*names.words(), "openat2", "fchmodat2", "%process", "@network-io", "!connect", "!open", "=read", "=sendto", "ipc",
     "all", "socketcall", "=socket", "!=socketcall", "/^sem/", "!fork"]
)  # fmt: skip
_ACTIONS = st.sampled_from(
    [Action(), Action(errno=errno.EACCES), Action(errno=errno.ENOSYS), Action("kill"), Action("audit"), Action("ask")]
)


def made(*rules, action=None):
    return Policy((Group("g", tuple(names.parse(rule, action=action, group="g") for rule in rules)),))


@st.composite
def policies(draw):
    rules = []
    for _ in range(draw(st.integers(1, 4))):
        try:
            rules.append(names.parse(",".join(draw(st.lists(_TERMS, min_size=1, max_size=4))), action=draw(_ACTIONS)))
        except UsageError:
            continue
    return Policy((Group("g", tuple(rules)),))


def profile_of(policy):
    return json.loads(seccomp.export(policy).text)


def expected(rule):
    found = seccomp.verdict(rule)
    return profiles.value(found.action, found.errno)


@cache
def requests():
    """(abi, number, registers, the call that it is, whether it has an address) for every call of every ABI on x86."""
    return tuple(_requests())


def _requests():
    for abi in ("x86_64", "x32", "i386"):
        for name, call in catalog.by_name(abi).items():
            for address in (False, True):
                args = (0, 0, 0, 0, (1 << 40 if abi != "i386" else 8) if address else 0, 0)
                if name not in multiplexed.CALLS:
                    yield abi, call.number, args, name, address
                for first, inside in multiplexed.CALLS.get(name, {}).items():
                    whole = seccomp.SHORT.get(inside, inside)
                    yield abi, call.number, (first, 0, 0, 0, args[4], 0), whole, whole == inside
                    yield abi, call.number, (first | 1 << 16, 0, 0, 0, args[4], 0), whole, whole == inside


def denies(policy, name, address):
    rule = decide(policy, CallRequest(name, address)).rule
    return rule is not None and rule.action.kind != "audit"


@settings(max_examples=40, deadline=None)
@given(policies())
def test_what_the_profile_allows_the_policy_does_not_deny(policy):
    profile = profile_of(policy)
    for abi, number, args, name, address in requests():
        if profiles.evaluate(profile, abi, number, args) in (profiles.ALLOW, profiles.LOG):
            assert not denies(policy, name, address), (abi, name, args)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])
@given(policies())
def test_nor_does_what_libseccomp_makes_of_it(policy):
    profile = profile_of(policy)
    steps = profiles.program(profile)
    for abi, number, args, name, address in requests():
        found = profiles.interpret(steps, number, profiles.ARCH[abi], args)
        if found in (profiles.ALLOW, profiles.LOG):
            assert not denies(policy, name, address), (abi, name, args)
        multiplexer = catalog.by_number(abi)[number].name in multiplexed.CALLS
        if profiles.knows(abi, name) and not (multiplexer and args[0] > 0xFFFF):
            assert found == profiles.evaluate(profile, abi, number, args), (abi, name, args)


@settings(max_examples=25, deadline=None)
@given(policies())
def test_it_refuses_with_what_the_policy_says_and_lets_the_rest_through(policy):
    profile = profile_of(policy)
    closed = frozenset().union(*(names.closes(rule.calls) for rule in policy.rules))
    unsure = {"sendmsg", "sendmmsg", *closed}
    for abi, number, args, name, address in requests():
        if catalog.by_number(abi)[number].name in multiplexed.CALLS or name in unsure:
            continue
        if name not in names.refuse.NO_CODE:
            wanted = expected(decide(policy, CallRequest(name, address)).rule)
            if abi == "x32" and any("sendto" in rule.addressed for rule in policy.rules):
                wanted = profiles.KILL_THREAD
            assert profiles.evaluate(profile, abi, number, args) == wanted, (abi, name, args)


def test_numbers_that_nobody_knows_are_refused():
    steps = profiles.program(profile_of(made("ptrace")))
    for abi, number in (("x86_64", 999), ("x86_64", 520), ("x86_64", 59 | 0x40000000), ("i386", 2000)):
        assert profiles.interpret(steps, number, profiles.ARCH[abi]) == profiles.ERRNO | errno.ENOSYS
    assert profiles.interpret(steps, 5, 0x40000028) == 0, "another architecture ends the thread"


def call(number, *args):
    ctypes.set_errno(0)
    return -ctypes.get_errno() if _LIBC.syscall(number, *args) < 0 else 0


def test_the_kernel_holds_it_in_a_child():
    profile = profile_of(file.read('version = 1\n[groups.a]\naction = "EACCES"\ndeny = ["connect", "=getppid"]\n'))
    number = {name: one.number for name, one in catalog.by_name("x86_64").items()}

    def child():
        refused = {
            call(number["getppid"]),
            call(number["connect"], -1, 0, 0),
            call(number["sendto"], -1, 0, 0, 0, 8, 16),
        }
        free = {call(number["getpid"]), call(number["sendto"], -1, 0, 0, 0, 0, 0)}
        return 0 if refused == {-errno.EACCES} and free == {0, -errno.EBADF} else 1

    assert profiles.under(profile, child) == 0


def test_a_process_that_is_to_be_killed_is():
    profile = profile_of(made("=getppid", action=Action("kill")))
    assert profiles.under(profile, lambda: os.getppid() and 0) == -signal.SIGSYS


@pytest.mark.parametrize("word", ["connect", "all", "%process", "!read,!write,!mmap"])
def test_what_oci_has_is_the_same_filter(word):
    policy = made(word)
    fragment = json.loads(targets.export(policy, "oci").text)["linux"]["seccomp"]
    fragment["architectures"].remove("SCMP_ARCH_AARCH64")
    assert profiles.program(fragment) == profiles.program(profile_of(policy))


def test_names_are_in_the_form_that_docker_takes():
    profile = profile_of(made("connect", "mount"))
    assert set(profile) == {"defaultAction", "defaultErrnoRet", "archMap", "syscalls"}
    for entry in profile["syscalls"]:
        assert set(entry) <= {"names", "action", "errnoRet", "args", "comment"}
        assert entry["names"] == sorted(set(entry["names"])) != []
    listed = [name for entry in profile["syscalls"] for name in entry["names"]]
    assert [name for name in set(listed) if listed.count(name) > 1] == ["sendto"]


def test_the_report_says_what_is_wider_and_what_is_lost():
    text = 'version = 1\n[groups.a]\naction = "{}"\ndeny = ["connect", "ptrace"]\n'
    text += 'deny-path = "/etc/"\nallow-path = "/etc/x"\n'
    found = targets.export(file.read(text.format("ask")), "seccomp").findings
    assert [one.held for one in found] == [Held.WIDER, Held.WIDER, Held.NOT, Held.EXACT]
    found = targets.export(file.read(text.format("kill")), "seccomp").findings
    assert [one.held for one in found] == [Held.WIDER, Held.EXACT, Held.NOT, Held.EXACT]


# The command


def run(tmp_path, text, *words):
    path = tmp_path / "p.toml"
    path.write_text(text)
    return CliRunner().invoke(cli, ["policy", "export", str(path), *words])


CALLS = 'version = 1\n[groups.a]\ndeny = "ptrace"\n'
BOTH = CALLS + 'deny-path = "r:/etc/shadow"\n'


def test_a_loss_is_written_only_where_that_is_asked_for(tmp_path):
    refused = run(tmp_path, BOTH, "--to", "seccomp", "-o", str(tmp_path / "o"))
    assert refused.exit_code == 1 and not (tmp_path / "o").exists()
    assert run(tmp_path, BOTH, "--to", "seccomp", "--lossy", "-o", str(tmp_path / "o")).exit_code == 0
    assert json.loads((tmp_path / "o").read_text())["defaultAction"] == "SCMP_ACT_ERRNO"


def test_a_target_that_can_hold_none_of_it_is_refused_also_with_lossy(tmp_path):
    text = 'version = 1\n[groups.a]\ndeny-path = "r:/etc/*"\n'
    for target in ("seccomp", "oci"):
        found = run(tmp_path, text, "--to", target, "--lossy")
        assert found.exit_code == 1 and not found.stdout


@pytest.mark.parametrize("text", ['version = 1\n[groups.a]\nallow-path = "/**"\n'])
def test_a_policy_that_allows_everything_is_refused(tmp_path, text):
    assert run(tmp_path, text, "--to", "seccomp").exit_code == 1


def test_a_policy_that_allows_nothing_leaves_what_cannot_be_refused(tmp_path):
    profile = profile_of(made("all"))
    allowed = [entry["names"] for entry in profile["syscalls"] if entry["action"] == "SCMP_ACT_ALLOW"]
    assert allowed == [["exit", "exit_group", "restart_syscall", "rt_sigreturn", "sigreturn"]]


# Import

MOBY = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
    "syscalls": [
        {"names": ["read", "write", "exit_group", "send", "recv", "socketcall", "mips_magic"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["uselib"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
        {"names": ["mount", "bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
        {"names": ["breakpoint"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm"]}},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["reboot"], "action": "SCMP_ACT_TRAP", "comment": "\n[groups.x]"},
    ],
}  # fmt: skip


def taken(profile, added=(), dropped=(), lossy=False):
    container = docker.Container(docker.capabilities(added, dropped), (6, 1), "amd64")
    imported = docker.take(json.dumps(profile).encode(), "x.json", container, lossy)
    return file.read(imported.text), imported.said


def denied(policy, call):
    rule = decide(policy, CallRequest(call)).rule
    return rule and rule.action.name


def test_a_profile_of_docker_becomes_a_policy():
    policy, said = taken(MOBY)
    outcomes = {name: denied(policy, name) for name in ("read", "ptrace", "chroot", "socketcall", "exit_group")}
    assert set(outcomes.values()) == {None}
    assert {denied(policy, name) for name in ("mount", "bpf", "uselib", "socket", "openat", "connect")} == {"EPERM"}
    assert denied(policy, "clone3") == "ENOSYS" and denied(policy, "reboot") == "kill"
    lines = [f"{held.name} {what}" for held, what in said]
    assert any(line.startswith("WIDER socket: a matter of its arguments there; denied") for line in lines)
    assert any("bpf, mount: allowed with CAP_SYS_ADMIN alone" in line for line in lines)
    assert any("uselib: allowed from Linux 99.0 on" in line for line in lines)
    assert any(line.startswith("NOT mips_magic") for line in lines)
    assert any("reboot: a signal handler was called" in line for line in lines)


def test_capabilities_are_those_of_docker_run():
    policy, _ = taken(MOBY, ("sys_admin",), ("CAP_SYS_CHROOT",))
    assert (
        denied(policy, "mount") is None and denied(policy, "chroot") == "EPERM" and denied(policy, "clone3") == "EPERM"
    )
    policy, _ = taken(MOBY, ("ALL",))
    assert denied(policy, "mount") is None and denied(policy, "chroot") is None
    assert docker.capabilities(("NET_RAW",), ("ALL",)) == {"CAP_NET_RAW"}
    with pytest.raises(UsageError, match="no capability"):
        docker.capabilities(("SYS_ADMN",), ())


def test_lossy_allows_what_the_profile_allows_with_some_arguments():
    policy, said = taken(MOBY, lossy=True)
    assert denied(policy, "socket") is None
    assert (Held.PART, "socket: allowed whatever its arguments are") in said


def test_a_list_of_what_is_refused_is_taken_too():
    policy, said = taken(
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "getcwd", "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
                                                        {"names": ["chmod"], "action": "SCMP_ACT_LOG"}]}
    )  # fmt: skip
    assert (
        denied(policy, "getcwd") == "EACCES" and denied(policy, "chmod") == "audit" and denied(policy, "open") is None
    )
    assert not said


@settings(max_examples=80, deadline=None)
@given(policies())
def test_what_is_exported_and_imported_judges_calls_alike(policy):
    if all(rule.allow for rule in policy.rules):
        return
    back, _ = taken(profile_of(policy))
    closed = frozenset().union(*(names.closes(rule.calls) for rule in policy.rules))
    both = [
        {name: expected(decide(policy, CallRequest(name, to)).rule) for name in catalog.names()} for to in (False, True)
    ]
    by_address = {
        name for name in catalog.names() if both[0][name] != both[1][name]
    }  # a policy says nothing of arguments
    unsure = {"sendmsg", "sendmmsg", *multiplexed.CALLS, *closed, *by_address}
    for name in catalog.names():
        for address in (False, True):
            was, now = (decide(one, CallRequest(name, address)).rule for one in (policy, back))
            if name not in unsure:
                assert expected(was) == expected(now), name
            elif was is not None and was.action.kind != "audit":
                assert now is not None and now.action.kind != "audit", name


def test_what_isotrace_closes_with_a_call_is_said():
    refused = {"names": ["statx", "io_uring_enter"], "action": "SCMP_ACT_ERRNO"}
    _, said = taken({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]})
    what = "denied with calls whose work io_uring could do instead"
    assert said == ((Held.WIDER, f"io_uring_register, io_uring_setup: {what}"),)


def test_what_a_container_has_is_imported_too():
    policy = made("ptrace")
    back, _ = taken(json.loads(targets.export(policy, "oci").text))
    assert denied(back, "ptrace") == "EPERM" and denied(back, "open") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no seccomp profile"),
        ("[]", "is no seccomp profile"),
        ("{}", "defaultAction"),
        ("[" * 100000, "is no seccomp profile"),
        ("\xff", "is no seccomp profile"),
        ('{"defaultAction": "SCMP_ACT_ALLOW"}', "denies nothing"),
        ('{"defaultAction": "SCMP_ACT_NONE"}', "defaultAction"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": [1], "action": "SCMP_ACT_ALLOW"}]}', "names"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "sycalls": []}', "sycalls"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 99999}', "defaultErrnoRet"),
        ('{"linux": {}}', "is no seccomp profile"),
    ],
)
def test_what_is_no_profile_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "p.json"
    path.write_text(text, encoding="latin-1")
    found = CliRunner().invoke(cli, ["policy", "import", str(path)])
    assert found.exit_code != 0 and message in str(found.exception)
    assert "\n" not in str(found.exception)


def test_a_hostile_name_stays_in_its_comment(tmp_path):
    path = tmp_path / "a\n[groups.x]\n.json"
    path.write_text(json.dumps(MOBY))
    found = CliRunner().invoke(cli, ["policy", "import", str(path), "-o", str(tmp_path / "o.toml")])
    assert found.exit_code == 0
    assert {group.name for group in file.load(str(tmp_path / "o.toml")).groups} == {"eperm", "enosys", "kill"}
