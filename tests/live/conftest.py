"""What every live test needs: root, BPF on this kernel, a C compiler for tests/progs. A skip says what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import kernel_module
import pytest
import tracer
from records import open_directory

# What no kernel changes would take longer than all else under emulation: decoding beside strace, seccomp call by call.
# test_block_running.py is about kernels where nothing refuses running processes: the guests' do, see tests/vm.
# test_bench_interrupted.py interrupts `make bench`, which measures on the host. test_record.py and
# test_record_replay.py are about files, test_strace_parsers.py about other people's programs that read them.
# test_container_targets.py has a container of runc's, which guests lack.
# test_presets_at_work.py runs other people's programs, of kinds that guests lack.
# test_pages.py compares with pages that show a kernel without BPF at the security hooks.
# test_stack_traces.py is about files as well; what kernels do for it is in test_stacks_of_kernels.py.
_NATIVE = ["test_differential.py", "test_block_seccomp.py", "test_block_running.py", "test_bench_interrupted.py"]
_NATIVE += ["test_learn_programs.py", "test_policy_on_recordings.py"]  # what recordings come to, of many programs
_NATIVE += [
    "test_container_targets.py",
    "test_pages.py",
    "test_presets_at_work.py",
    "test_record.py",
    "test_record_replay.py",
    "test_strace_parsers.py",
    "test_stack_traces.py",
]
collect_ignore = _NATIVE if "ISOTRACE_VM_KERNEL" in os.environ else []

Compile = Callable[..., Path]


#: The files whose tests run by every backend that there is; the others use BPF.
BY_BACKEND = ("test_log", "test_targets")
_FEATURES = os.environ.get("ISOTRACE_VM_FEATURES", "btf").split(",")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the shared tests by BPF, and by the kernel module in guests that have it."""
    if metafunc.module.__name__ in BY_BACKEND:
        found = [name for name, feature in (("bpf", "btf"), ("lkm", "lkm")) if feature in _FEATURES]
        metafunc.parametrize("backend", found, indirect=True)


@pytest.fixture(scope="module", autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """What logs: ``bpf``, or ``lkm`` with the module loaded."""
    name: str = getattr(request, "param", "bpf")
    tracer.BACKEND = name
    if name == "lkm":
        with kernel_module.loaded():
            yield name
    else:
        yield name
    tracer.BACKEND = "bpf"


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "needs root: isotrace loads BPF programs"
    if "lkm" in _FEATURES and "btf" not in _FEATURES:
        return None
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "needs btf: this kernel has no /sys/kernel/btf/vmlinux"
    return None


@pytest.fixture(autouse=True, scope="session")
def kernel() -> None:
    """Skip where isotrace cannot run at all."""
    if reason := _missing():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def compiled() -> Iterator[Compile]:
    """``compiled("name", "-m32")``: the program tests/progs/name.c, built once a session."""
    with open_directory() as directory:

        def build(name: str, *flags: str) -> Path:
            target = directory / "".join([name, *flags])
            if not target.exists():
                _compile(tracer.PROGS / f"{name}.c", target, flags)
            return target

        yield build


def _compile(source: Path, target: Path, flags: tuple[str, ...]) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc: the test's program is C")
    # gcc -m32 looks for <asm/…> in /usr/include only, where nothing but gcc-multilib puts it.
    headers = ["-idirafter", "/usr/include/x86_64-linux-gnu"]
    command = ["gcc", "-O1", "-Wall", "-pthread", *flags, *headers, "-o", target, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and set(flags) & {"-m32", "-static"}:
        pytest.skip(f"needs gcc: no libraries for {' '.join(flags)}")
    assert done.returncode == 0, done.stderr
