"""The verdicts of `isotrace doctor`: logic, shape and wording, with faked probes. No root needed."""

import errno
import json
import os
import re
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from isotrace.commands import doctor as command
from isotrace.enforce import findings
from isotrace.enforce.abilities import abilities
from isotrace.enforce.calls import notify
from isotrace.enforce.findings import Found
from isotrace.enforce.mechanisms import FEATURES
from isotrace.errors import KernelError
from isotrace.kernel import attachable, features, sandbox
from isotrace.kernel.answer import no, refusal, unknown, verifier_reason, yes
from isotrace.kernel.btf import KIND_FUNC, KIND_STRUCT, Btf
from isotrace.kernel.probes import PROBES

# Tests elsewhere skip with "needs NAME: why": these names may grow in number, but none may go.
_STABLE = """
bcc bpf_syscall btf cgroup2 error_injection fmod_ret_security fmod_ret_syscall ftrace
ftrace_syscalls ia32 io_uring jit kprobe landlock lsm_bpf module_headers modules override
pid_namespace privileges probe_read_kernel probe_read_user raw_tracepoint ringbuf seccomp signal
syscall_table tail_call unlocked unsigned_modules x32
"""
STABLE = frozenset(_STABLE.split())


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Every test starts with no answer kept."""
    monkeypatch.setattr(features, "_kept", {})


def fake(monkeypatch, **answers):
    """Probes that answer as told, and yes where nothing is told."""
    there = yes("it is")
    rows = [replace(probe, probe=partial(answers.get, probe.name, there)) for probe in PROBES]
    monkeypatch.setattr(features, "PROBES", tuple(rows))


def verdict():
    return features.log_verdict({feature.name: feature for feature in features.report()})


def doctor(*args):
    """Output and status; --json and tables are what a pipe gets."""
    result = CliRunner().invoke(command.doctor, args, standalone_mode=False, catch_exceptions=False)
    return result.output, result.return_value


# ---- the table -------------------------------------------------------------------------------------------


def test_names_are_unique_and_stable():
    names = [probe.name for probe in PROBES]
    assert len(names) == len(set(names))
    assert STABLE.issubset(names)


def test_every_row_says_what_for_and_what_would_change_it():
    assert all(probe.what and probe.remedy and probe.needed_for for probe in PROBES)
    assert all("log" in probe.needed_for for probe in PROBES if probe.required)


# ---- verdicts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "privileged", "expected"),
    [
        (errno.EINVAL, True, "no"),
        (errno.ENOSYS, False, "no"),
        (errno.EPERM, True, "no"),
        (errno.EPERM, False, "unknown"),
        (errno.EACCES, False, "unknown"),
        (errno.ENOMEM, True, "unknown"),
        (errno.EMFILE, True, "unknown"),
    ],
)
def test_what_an_errno_means(code, privileged, expected):
    answer = refusal("a map", code, privileged)
    assert answer.verdict == expected
    assert answer.why.startswith(f"a map: {errno.errorcode[code]}")


def test_who_is_not_privileged_is_told_to_be_root():
    assert "root" in refusal("a map", errno.EPERM, False).remedy


def test_the_verifiers_reason_is_passed_on():
    assert refusal("a map", errno.EINVAL, True, "unknown func x#1").why == "a map: EINVAL (unknown func x#1)"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", ""),
        (
            "0: R1=ctx() R10=fp0\n0: (b7) r2 = 0      ; R2_w=0\n1: (85) call bpf_override_return#58\n"
            "unknown func bpf_override_return#58\n"
            "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0\n",
            "unknown func bpf_override_return#58",
        ),
        (
            "0: R1=ctx() R10=fp0\n0: (95) exit\nR0 !read_ok\n\n"
            "Verification failed: Register Type Safety: Unreadable register\n\nReason:\n  R0 is not set.\n\n"
            "Suggestion:\n  Initialize R0.\n\nprocessed 1 insns (limit 1000000)\n",
            "R0 !read_ok",
        ),
        ("__x64_sys_openat() is not modifiable\nprocessed 0 insns\n", "__x64_sys_openat() is not modifiable"),
    ],
)
def test_the_verifiers_reason_is_one_line_of_its_log(log, reason):
    assert verifier_reason(log) == reason


def test_only_conclusive_answers_are_kept(monkeypatch):
    answers = iter([unknown("busy"), no("gone"), yes("back")])
    row = replace(PROBES[0], probe=lambda: next(answers))
    monkeypatch.setattr(features, "PROBES", (row,))
    assert [features.check(row.name).verdict for _ in range(3)] == ["unknown", "no", "no"]


def test_what_could_not_be_told_is_asked_again_wherever_answers_are_kept(monkeypatch):
    for ask, probe in ((attachable.lsm, "loads_lsm"), (attachable.fmod_ret, "loads_fmod_ret")):
        answers = iter([unknown("busy"), yes("there"), no("gone")])
        monkeypatch.setattr(attachable.probe_bpf, probe, lambda _function, answers=answers: next(answers))
        assert [ask(f"no_such_hook_{probe}").verdict for _ in range(3)] == ["unknown", "yes", "yes"]


def test_findings_are_asked_for_again_and_tell_of_what_is_not_known(monkeypatch):
    answers = iter([unknown("busy"), unknown("busy"), yes("there")])
    monkeypatch.setitem(findings._DETAILS, "lsm", lambda _hook: next(answers))
    found = findings.KernelFindings()
    assert found["lsm:x"].verdict == "unknown" and found.known()["lsm:x"].verdict == "unknown"
    assert [found["lsm:x"].verdict for _ in range(3)] == ["unknown", "yes", "yes"]


def test_a_fork_that_fails_says_nothing_of_seccomp(monkeypatch):
    def fork():
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    asked = notify.listens.__wrapped__
    monkeypatch.setattr(os, "fork", fork)
    assert asked().verdict == "unknown"


@pytest.mark.parametrize(
    ("error", "expected", "why"),
    [
        (OSError(errno.EIO, "I/O error"), "unknown", "I/O error"),
        (KeyError("riscv64"), "unknown", "riscv64"),
        (KernelError("this kernel carries no BTF"), "no", "this kernel carries no BTF"),
    ],
)
def test_a_probe_that_raises_is_an_answer(monkeypatch, error, expected, why):
    def raises():
        raise error

    monkeypatch.setattr(features, "PROBES", (replace(PROBES[0], probe=raises),))
    feature = features.check(PROBES[0].name)
    assert feature.verdict == expected
    assert why in feature.why


def test_a_remedy_is_for_what_is_not_yes(monkeypatch):
    fake(monkeypatch, ringbuf=no("EINVAL"))
    assert features.check("ringbuf").remedy == "Linux 5.8 or later"
    assert features.check("btf").remedy == ""


@pytest.mark.parametrize("name", [probe.name for probe in PROBES if probe.required])
@pytest.mark.parametrize("answer", [no("it is not"), unknown("it hides")])
def test_log_cannot_run_without_a_requirement(monkeypatch, name, answer):
    fake(monkeypatch, **{name: answer})
    found = verdict()
    assert not found.ok
    assert name in found.why and answer.why in found.why and found.hint


def test_log_can_run_without_everything_else(monkeypatch):
    fake(monkeypatch, **{probe.name: no("it is not") for probe in PROBES if not probe.required})
    assert verdict().ok


def test_the_first_missing_requirement_is_the_reason(monkeypatch):
    fake(monkeypatch, privileges=no("uid 1000"), bpf_syscall=unknown("EPERM"), bcc=no("not installed"))
    assert verdict().why == "privileges: uid 1000"


# ---- require_log -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(features._AT_A_GLANCE)))
def test_require_log_names_what_is_missing(monkeypatch, index):
    rows = [replace(row, probe=lambda: yes("it is")) for row in features._AT_A_GLANCE]
    rows[index] = replace(rows[index], probe=lambda: no("EINVAL"))
    monkeypatch.setattr(features, "_AT_A_GLANCE", tuple(rows))
    with pytest.raises(KernelError) as caught:
        features.require_log()
    assert caught.value.message == f"{rows[index].message}: EINVAL"
    assert caught.value.hint and "\n" not in caught.value.message + caught.value.hint


def test_require_log_checks_nothing_that_doctor_does_not():
    assert {row.name for row in features._AT_A_GLANCE} <= {probe.name for probe in PROBES if probe.required}


# ---- what is printed -------------------------------------------------------------------------------------


def test_json_is_one_object_with_stable_keys(monkeypatch):
    fake(monkeypatch, lsm_bpf=unknown("securityfs is not mounted"))
    output, status = doctor("--json")
    read = json.loads(output)
    assert status == 0
    assert read.keys() == {"kernel", "log", "features"}
    assert read["kernel"]["release"] == os.uname().release
    assert read["log"] == {"ok": True, "why": "every requirement is met", "hint": ""}
    assert {frozenset(row) for row in read["features"]} == {
        frozenset({"name", "verdict", "why", "remedy", "needed_for", "what"})
    }
    row = next(row for row in read["features"] if row["name"] == "lsm_bpf")
    assert (row["verdict"], row["why"], row["needed_for"]) == (
        "unknown",
        "securityfs is not mounted",
        ["refuse"],
    )


def test_all_features_are_grouped_and_fit_eighty_columns(monkeypatch):
    fake(monkeypatch, override=no("EINVAL"), x32=unknown("a word " * 30))
    lines = doctor("--all")[0].splitlines()
    named = {line.split()[1]: line for line in lines if line[:1] in "✓✗?" and line}
    assert STABLE.issubset(named) and max(map(len, lines)) <= 80
    assert (named["override"][0], named["x32"][0], named["btf"][0]) == ("✗", "?", "✓")
    assert [line for line in lines if line.endswith(":")] == ["to log:", "to deny:", "fallback module:"]
    assert lines.index("to deny:") < lines.index(named["lsm_bpf"]) < lines.index("fallback module:")
    assert sum(line.strip().startswith("a word") or line.strip().endswith("a word") for line in lines) > 1


@pytest.mark.parametrize(
    ("answers", "status", "first"),
    [
        ({}, 0, "✓ log, record, top            every call, of running processes and of commands"),
        ({"btf": no("no BTF")}, 3, "✗ log, record, top            btf: no BTF\n → CONFIG_DEBUG_INFO_BTF=y"),
        ({"ringbuf": unknown("ENOMEM")}, 3, "✗ log, record, top            cannot tell about ringbuf: ENOMEM"),
        (
            {"btf": no("no BTF"), "lkm": yes("loaded")},
            0,
            "~ log, record, top            log by the kernel module\n BPF cannot: btf: no BTF",
        ),
    ],
)
def test_what_can_be_done_and_the_exit_status(monkeypatch, answers, status, first):
    fake(monkeypatch, **{"lkm": no("not loaded")} | answers)
    output, returned = doctor()
    assert returned == status and max(map(len, output.splitlines())) <= 80
    assert re.sub(r"\n +", "\n ", output.split("\n\n")[1]).startswith(first)


def found_to_be(**answers):
    there = dict.fromkeys((*FEATURES, "seccomp_notify"), Found("yes", "it is"))
    return there | {name: Found("no", why, "do this") for name, why in answers.items()}


NO_HOOKS = {"lsm_bpf": "no LSM", "fmod_ret_security": "no hooks", "lkm": "not loaded"}
NO_NUMBERS = {"fmod_ret_syscall": "no fmod_ret", "override": "no override", "kprobe": "no kprobe"}


@pytest.mark.parametrize(
    ("answers", "running", "command"),
    [
        ({}, {"lsm": ("calls", "files", "addresses")}, {"lsm": ("calls", "files", "addresses")}),
        (NO_HOOKS, {"fmod_ret_call": ("calls",)}, {"fmod_ret_call": ("calls",)}),
        (NO_HOOKS | NO_NUMBERS | {"signal": "no signal"}, {}, {"seccomp": ("calls",)}),
    ],
)
def test_what_can_be_refused_is_what_is_planned(answers, running, command):
    by_title = {one.title: one for one in abilities(found_to_be(**answers))}
    assert by_title["block running processes"].held == running
    assert command.items() <= by_title["block a command"].held.items()
    if not running:
        one = by_title["block running processes"]
        assert one.missing == ("calls", "files", "addresses") and "no LSM" in one.why and one.remedy == "do this"


def test_help_has_the_exit_status_and_examples():
    output, _ = doctor("--help")
    assert "3 when it cannot" in output
    assert "isotrace doctor --json" in output


def test_a_full_disk_is_a_line_and_a_hint():
    command = [sys.executable, "-m", "isotrace", "doctor"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "isotrace: no space left on device",
        "  hint: make room for the output, or send it elsewhere",
    ]


# ---- the tools of the probes -----------------------------------------------------------------------------


def test_a_throw_away_child_tells_how_it_ended():
    assert sandbox.run(lambda: b"said") == sandbox.Ended(b"said", 0)
    crash = sandbox.run(lambda: os.kill(os.getpid(), signal.SIGSEGV) or b"")
    assert (crash.said, crash.describe()) == (b"", "SIGSEGV")


def test_a_throw_away_child_that_raises_prints_nothing(capfd):
    def raises():
        raise RuntimeError("inside")

    assert sandbox.run(raises).describe() == "status 1"
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs x86_64: the code is x86's")
def test_machine_code_runs_in_the_child():
    code = b"\xb8\x2a\x00\x00\x00\xc3"  # mov eax, 42; ret
    assert sandbox.run(lambda: str(sandbox.execute(code)).encode()).said == b"42"


def made_btf(*types):
    """A BTF blob of ``(name, kind, vlen, words)``."""
    strings, body = b"\0", b""
    for name, kind, vlen, words in types:
        at = len(strings) if name else 0
        strings += name.encode() + b"\0" if name else b""
        body += struct.pack(f"<III{words}I", at, kind << 24 | vlen, 0, *range(words))
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings))
    return Btf(head + body + strings)


def test_types_are_numbered_from_1_whatever_lies_between():
    kinds = [
        *((1, 0, 1), (2, 0, 0), (3, 0, 3), (5, 2, 6), (6, 3, 6), (7, 0, 0), (8, 0, 0), (13, 2, 4)),
        *((14, 0, 1), (15, 2, 6), (16, 0, 0), (17, 0, 1), (18, 0, 0), (19, 2, 6)),
    ]
    between = [("", kind, vlen, words) for kind, vlen, words in kinds]
    read = made_btf(("first", 12, 1, 0), *between, ("task", 4, 2, 6), ("last", 12, 1, 0))
    assert read.type_id("first", KIND_FUNC) == 1
    assert read.type_id("task", KIND_STRUCT) == len(between) + 2
    assert read.type_id("last", KIND_FUNC) == len(between) + 3


def test_a_function_is_not_found_as_a_struct():
    read = made_btf(("open", 12, 1, 0))
    for name, kind in (("open", KIND_STRUCT), ("close", KIND_FUNC)):
        with pytest.raises(KeyError):
            read.type_id(name, kind)


def test_what_looks_like_a_type_inside_another_is_skipped():
    """The members of a struct hold words that read as a function record of the wanted name."""
    strings = b"\0wanted\0"
    decoy = struct.pack("<III", 1, KIND_FUNC << 24, 0)
    body = struct.pack("<III", 0, KIND_STRUCT << 24 | 1, 12) + decoy + struct.pack("<III", 1, KIND_FUNC << 24, 0)
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings))
    assert Btf(head + body + strings).type_id("wanted", KIND_FUNC) == 2


def test_a_constant_of_an_enum_has_its_value():
    """Its name is also a struct's, and a number in a record of another kind."""
    strings = b"\0wanted\0other\0"
    enum = struct.pack("<III", 0, 6 << 24 | 2, 4) + struct.pack("<IiIi", 8, 1, 1, -7)
    body = struct.pack("<III", 1, KIND_STRUCT << 24 | 1, 1) + struct.pack("<III", 1, 1, 1) + enum
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings))
    read = Btf(head + body + strings)
    assert (read.enumerator("wanted"), read.enumerator("other")) == (-7, 1)
    with pytest.raises(KeyError):
        read.enumerator("absent")


def test_an_unknown_kind_is_an_error_and_no_wrong_number():
    with pytest.raises(ValueError, match="kind"):
        made_btf(("new", 25, 0, 0), ("open", 12, 1, 0)).type_id("open", KIND_FUNC)
