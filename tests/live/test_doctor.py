"""`isotrace doctor` on the running kernel, compared with what is known of it from elsewhere."""

import gzip
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from isotrace.kernel import features, probe_bpf
from isotrace.kernel.answer import no, yes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs privileges: not root")

# Where the option is off, the feature cannot be there.
NEEDS_CONFIG = {
    **{"bpf_syscall": "BPF_SYSCALL", "btf": "DEBUG_INFO_BTF", "cgroup2": "CGROUPS", "jit": "BPF_JIT"},
    **{"error_injection": "FUNCTION_ERROR_INJECTION", "fmod_ret_security": "FUNCTION_TRACER"},
    **{"fmod_ret_syscall": "FUNCTION_ERROR_INJECTION", "ftrace": "FUNCTION_TRACER", "ia32": "IA32_EMULATION"},
    **{
        "ftrace_syscalls": "FTRACE_SYSCALLS",
        "io_uring": "IO_URING",
        "kprobe": "KPROBES",
        "modules": "MODULES",
    },
    **{"landlock": "SECURITY_LANDLOCK", "lsm_bpf": "BPF_LSM", "override": "BPF_KPROBE_OVERRIDE"},
    **{"raw_tracepoint": "BPF_EVENTS", "seccomp": "SECCOMP_FILTER", "signal": "BPF_EVENTS"},
    **{"unsigned_modules": "MODULES", "x32": "X86_X32_ABI"},
}
# Where it is on, these can only be there.
SURE = {"bpf_syscall", "btf", "ftrace_syscalls", "kprobe", "override", "raw_tracepoint", "seccomp", "signal"}

UNINITIALISED = b"\x95\0\0\0\0\0\0\0"  # exit without a value in r0
NO_SUCH_HELPER = 9999


def config():
    """The options of this kernel that are y or m; None when its configuration is not to be found."""
    for path in (Path("/proc/config.gz"), Path("/boot", f"config-{os.uname().release}")):
        if path.exists():
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
            return set(re.findall(r"^CONFIG_(\w+)=[ym]$", text, re.MULTILINE))
    return None


def matrix(found):
    """In a guest of tests/vm: the verdict that kernels.toml asks for, by feature. Elsewhere nothing."""
    if "ISOTRACE_VM_FEATURES" not in os.environ:
        return {}
    has = os.environ["ISOTRACE_VM_FEATURES"].split(",")
    rows = tomllib.loads((Path(__file__).parents[1] / "vm" / "kernels.toml").read_text())
    names = (rows["features"].keys() & found.keys()) - {"lkm"}  # in the matrix it is the file that was built
    return {name: "yes" if name in has else "no" for name in names}


def contradictions(found, options):
    """The features whose verdict the configuration denies."""
    wrong = {}
    for name, option in NEEDS_CONFIG.items():
        impossible = "no" if option in options else "yes"
        if found[name] == impossible and (impossible == "yes" or name in SURE):
            wrong[name] = f"{found[name]}, but CONFIG_{option} is {'on' if option in options else 'off'}"
    return wrong


def isotrace(*args, before=""):
    """Run it in a process of its own: status, output, errors. ``before`` is done after all imports."""
    code = (
        "import os, sys\nimport isotrace.__main__ as main, isotrace.commands.doctor, isotrace.commands.log\n"
        f"{before}\nsys.argv[:] = ['isotrace', *{list(args)!r}]\nmain.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


AS_NOBODY = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"


@pytest.fixture(scope="module")
def found():
    status, output, errors = isotrace("doctor", "--json")
    assert (status, errors) == (0, "")
    return {row["name"]: row["verdict"] for row in json.loads(output)["features"]}


def test_what_is_known_from_elsewhere_agrees(found):
    """The kernel's configuration; in a guest of tests/vm also the matrix, exactly."""
    options, known = config(), matrix(found)
    if options is None and not known:
        pytest.skip("needs kernel_config: neither /proc/config.gz nor /boot/config-RELEASE is there")
    assert options is None or contradictions(found, options) == {}
    assert {name: found[name] for name in known} == known


def test_the_comparison_finds_a_lie(found):
    """The check above is worth something: answers turned round contradict the configuration."""
    turned = {name: {"yes": "no", "no": "yes"}.get(verdict, verdict) for name, verdict in found.items()}
    options = config() or {"BPF_SYSCALL", "DEBUG_INFO_BTF", "BPF_EVENTS"}
    assert {"bpf_syscall", "btf", "raw_tracepoint"} <= contradictions(turned, options).keys()


def test_the_command_says_that_log_can_run():
    status, output, errors = isotrace("doctor")
    assert (status, errors) == (0, "")
    assert re.search(r"^✓ log, record, top ", output, re.MULTILINE) and max(map(len, output.splitlines())) <= 80


def test_a_user_without_privileges_gets_reasons():
    status, output, errors = isotrace("doctor", "--json", before=AS_NOBODY)
    read = json.loads(output)
    assert (status, errors) == (3, "")
    assert read["log"]["why"].startswith("privileges: uid 65534 without CAP_SYS_ADMIN")
    rows = {row["name"]: row for row in read["features"]}
    for name in ("raw_tracepoint", "ringbuf", "lsm_bpf", "override", "signal"):
        assert rows[name]["verdict"] in ("no", "unknown") and rows[name]["why"]
    assert "root" in rows["ringbuf"]["remedy"]


def test_a_user_without_privileges_cannot_log():
    status, output, errors = isotrace("log", "--pid", str(os.getpid()), before=AS_NOBODY)
    assert (status, output) == (3, "")
    first, hint = errors.splitlines()
    assert first.startswith("isotrace: isotrace needs root: uid 65534")
    assert "root" in hint and "CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE" in hint


@pytest.mark.native  # in a guest the host compiles, for root alone
def test_a_user_with_three_capabilities_can_log():
    """As README says under "Without root"."""
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv: to run with some capabilities")
    names = ["bpf", "perfmon", "sys_ptrace"]
    caps = ",".join(f"+{name}" for name in names)
    command = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        f"--inh-caps={caps}",
        f"--ambient-caps={caps}",
    ]
    command += [sys.executable, "-m", "isotrace", "log", "--", "true"]
    variables = os.environ | {"ISOTRACE_CACHE": "off", "HOME": "/", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stderr
    assert "exit_group(0)" in done.stdout and ", 0 lost" in done.stderr


def test_what_doctor_says_with_three_capabilities_is_so():
    """On a kernel that preempts programs Debian wants another one."""
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv: to run with some capabilities")
    held = int(Path("/proc/self/status").read_text().split("CapBnd:")[1].split()[0], 16)
    names = ["bpf", "perfmon", "sys_ptrace", *(["sys_resource"] if held >> 24 & 1 else [])]
    caps = ",".join(f"+{name}" for name in names)
    few = ["setpriv", f"--bounding-set=-all,{caps}", f"--inh-caps=-all,{caps}", sys.executable, "-m", "isotrace"]
    variables = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    doctor = subprocess.run([*few, "doctor", "--json"], capture_output=True, text=True, env=variables)
    said = json.loads(doctor.stdout)["log"]
    done = subprocess.run([*few, "log", "--", "true"], capture_output=True, text=True, env=variables)
    assert (done.returncode == 0) == said["ok"], (done.stderr, said)
    assert said["ok"] or (f"it takes {said['hint']}" in done.stderr and "CAP_SYS_ADMIN" in said["hint"]), done.stderr


def test_require_log_is_content_where_log_can_run():
    features.require_log()


def test_nothing_is_left_behind(monkeypatch):
    """No descriptor stays open, hence no program loaded or attached; the memory limit is as before."""
    monkeypatch.setattr(features, "_kept", {})

    def state():
        return sorted(Path("/proc/self/fd").iterdir()), resource.getrlimit(resource.RLIMIT_MEMLOCK)

    before = state()
    features.report()
    assert state() == before


# ---- probes that are given something that cannot work may not say yes --------------------------------------


@pytest.mark.parametrize("name", ["raw_tracepoint", "raw_tracepoint_loads", "jit", "lsm_bpf", "fmod_ret_security"])
def test_an_invalid_program_is_no_yes(monkeypatch, name):
    monkeypatch.setattr(probe_bpf, "RETURN_0", UNINITIALISED)
    assert getattr(probe_bpf, name)().verdict != "yes"


@pytest.mark.parametrize(
    ("name", "helper"),
    [
        ("probe_read_user", "_PROBE_READ_USER_STR"),
        ("probe_read_kernel", "_PROBE_READ_KERNEL"),
        ("tail_call", "_TAIL_CALL"),
    ],
)
def test_a_helper_that_does_not_exist_is_a_no(monkeypatch, name, helper):
    assert getattr(probe_bpf, name)().verdict == "yes"
    monkeypatch.setattr(probe_bpf, helper, NO_SUCH_HELPER)
    answer = getattr(probe_bpf, name)()
    assert answer.verdict == "no"
    assert str(NO_SUCH_HELPER) in answer.why


def test_a_function_that_does_not_exist_is_a_no():
    answer = probe_bpf._loads_for("no_such_function", "a program for", probe_bpf._LSM, probe_bpf._LSM_MAC)
    assert answer == no("no_such_function is not in the kernel's BTF")


def test_an_lsm_that_is_not_active_is_a_no(monkeypatch):
    """A program loads and attaches then, too, and is never called."""
    monkeypatch.setattr(probe_bpf, "_loads_for", lambda *_: yes("it loads"))
    monkeypatch.setattr(probe_bpf.probe_system, "active_lsms", lambda: ["capability", "landlock"])
    assert probe_bpf.lsm_bpf().verdict == "no"
    monkeypatch.setattr(probe_bpf.probe_system, "active_lsms", lambda: None)
    assert probe_bpf.lsm_bpf().verdict == "unknown"
