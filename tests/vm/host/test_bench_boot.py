"""Guests that die, hang or are refused: that kernel's failure, in a line, and the others still run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.tracer import until
from tests.vm.bench import __main__ as bench
from tests.vm.bench import boot, cache, run
from tests.vm.bench.boot import Limits
from tests.vm.bench.build import fragment_hash, prebuilt, target
from tests.vm.bench.compiler import Compiler
from tests.vm.bench.errors import BenchError, UnavailableError
from tests.vm.bench.matrix import ROOT, Kernel, load, select
from tests.vm.bench.run import Row
from tests.vm.bench.table import status, summary, table
from tests.vm.bench.unpack import Artefacts

OK = Row("5.10", "5.10.0-46", passed=12, skipped=3, seconds=41.4)
BAD = Row(
    "6.1", "6.1.0-56", passed=11, failed=1, seconds=40, problem="1 of 12 tests failed", failures=(("a.py::b", "E  c"),)
)
NONE = Row("7.x", problem="no network: m is not reached", tested=False, unavailable=True)


def test_the_table_has_a_line_for_each_kernel() -> None:
    assert table([OK, BAD, NONE]).split("\n") == [
        "kernel  release    passed  failed  skipped  seconds  result",
        "5.10    5.10.0-46      12       0        3       41  ok",
        "6.1     6.1.0-56       11       1        0       40  FAILED: 1 of 12 tests failed",
        "7.x     -               -       -        -        0  NOT TESTED: no network: m is not reached",
    ]


def test_the_end_says_what_was_not_tested_and_why_and_what_failed() -> None:
    assert summary([OK, BAD, NONE], ["6.12"]).split("\n") == [
        "Kernels tested: 5.10 (5.10.0-46), 6.1 (6.1.0-56).",
        "NOT TESTED: 7.x: no network: m is not reached.",
        "NOT TESTED: 6.12: not asked for.",
        "FAILED: [6.1] a.py::b: E  c",
    ]


def test_lenience_forgives_only_what_cannot_be_had() -> None:
    assert (status([OK], False), status([OK, NONE], False), status([OK, BAD], False)) == (0, 1, 1)
    assert (status([OK, NONE], True), status([OK, BAD], True)) == (0, 1)


def test_two_processors_take_turns_under_emulation_and_mitigations_stay_on_where_they_are_wanted() -> None:
    one, two = boot.Machine("quiet"), boot.Machine(processors=2, mitigations=True)
    assert one.options[:2] == ["-accel", "tcg,thread=multi"] and one.options[-2:] == ["-smp", "1"]
    assert two.options[:2] == ["-accel", "tcg,thread=single"] and two.options[-2:] == ["-smp", "2"]
    assert "mitigations=off" in one.cmdline and one.cmdline.endswith(" quiet")
    assert "mitigations=off" not in two.cmdline and "nopti" not in two.cmdline


def test_tests_are_files_or_single_ones_and_may_be_chosen_by_a_marker(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").touch()
    tests = [tmp_path / "test_x.py::test_y", tmp_path / "test_none.py"]
    assert run.pytest_command(tests)[-3:] == ["-m", "not native", f"{tmp_path}/test_x.py::test_y"]
    assert run.pytest_command(tests, "race")[-2] == "race and not native"


def test_one_kernel_that_cannot_be_had_does_not_stop_the_others(
    own_cache: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(kernel: Kernel, say: object) -> Artefacts:
        if kernel.name == "6.1":
            raise BenchError("a hash differs")
        if kernel.name == "6.12":
            raise OSError(28, "No space left on device")
        raise UnavailableError("no network", "plug it in")

    monkeypatch.setattr(run, "artefacts", fail)
    assert bench.main(["--lenient"]) == 1
    out = capsys.readouterr().out
    for line in (
        "NOT TESTED: 5.10: no network (plug it in).",
        "NOT TESTED: 6.1: a hash differs.",
        "no space left",
    ):
        assert line in out
    assert bench.main(["--lenient", "5.10", "7"]) == 0
    assert bench.main(["5.10", "7"]) == 1


def cached_kernel(*names: str) -> Kernel:
    """A kernel that is there without the network; the guests' tests skip where there is none, or no QEMU."""
    if not shutil.which(boot.QEMU):
        pytest.skip("needs QEMU")
    for kernel in select(load(), names):
        if is_cached(kernel):
            return kernel
    pytest.skip("needs a kernel in the cache: run make vm once")


def is_cached(kernel: Kernel) -> bool:
    """Whether the kernel boots without the network."""
    if kernel.fragment:
        return target(kernel).is_dir() or prebuilt(fragment_hash(kernel)) is not None
    kept = (cache.root() / "kernels").glob("*_*")
    return any(re.fullmatch(kernel.release, path.name.rpartition("_")[0]) for path in kept)


def test_a_command_in_a_guest_gives_its_status_and_output(said: list[str]) -> None:
    kernel = cached_kernel("6.1-override", "6.1")
    row = run.run(kernel, said.append, ["sh", "-c", "echo out; echo err >&2; touch /bin/new && exit 7"])
    assert row.tested and row.problem == "the command ended with status 7"
    assert "  output| out" in "\n".join(said) and "  output| err" in "\n".join(said)
    assert not Path("/bin/new").exists()


def test_a_deliberate_panic_in_a_guest_test_is_reported_as_that_kernels(said: list[str], tmp_path: Path) -> None:
    kernel = cached_kernel("6.1", "7", "5.10")
    test = tmp_path / "test_crash.py"
    test.write_text(
        "from pathlib import Path\n"
        "def test_before(): pass\n"
        "def test_crash(): Path('/proc/sysrq-trigger').write_text('c')\n"
    )
    row = run.run(kernel, said.append, run.pytest_command([test]))
    assert row.name == kernel.name and row.passed == 1
    assert row.problem.startswith("panic: Kernel panic - not syncing: sysrq triggered crash, in ")
    assert row.problem.endswith("test_crash.py::test_crash")
    assert any("console|" in line and "sysrq: Trigger a crash" in line for line in "\n".join(said).split("\n"))
    assert status([row], lenient=True) == 1


def test_a_guest_that_falls_silent_is_ended(said: list[str]) -> None:
    kernel = cached_kernel("6.1-override", "6.1")
    stop_the_agent = ["sh", "-c", "kill -STOP $PPID; sleep 600"]
    row = run.run(kernel, said.append, stop_the_agent, Limits(silence=15))
    assert row.problem.startswith("hang: the guest fell silent")


def test_a_guest_that_is_not_done_in_time_is_ended(said: list[str]) -> None:
    kernel = cached_kernel("6.1-override", "6.1")
    row = run.run(kernel, said.append, ["sh", "-c", "while sleep 1; do date; done"], Limits(total=16, stuck=12))
    assert row.problem == "hang: the guest was not done in time"


def test_a_test_that_hangs_in_a_guest_is_named(said: list[str], tmp_path: Path) -> None:
    kernel = cached_kernel("6.1-override", "6.1")
    test = tmp_path / "test_hang.py"
    test.write_text("import time\ndef test_hang(): time.sleep(600)\n")
    row = run.run(kernel, said.append, run.pytest_command([test]), Limits(stuck=120))
    assert row.problem.startswith("hang: the guest lives")
    assert row.problem.endswith("test_hang.py::test_hang")


def test_a_guest_that_hangs_at_boot_is_ended(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = cached_kernel("6.1-override", "6.1")
    monkeypatch.setattr(run, "job", lambda *args: "sleep 600\n")
    row = run.run(kernel, said.append, ["true"], Limits(boot=12))
    assert row.problem.startswith("hang at boot")


def test_a_guest_without_its_agent_is_no_pass(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = cached_kernel("6.1-override", "6.1")
    monkeypatch.setattr(run, "job", lambda *args: "echo nothing to report\n")
    row = run.run(kernel, said.append, ["true"])
    assert row.problem == "the guest stopped before it came up"
    assert any("nothing to report" in line for line in said)


def test_without_qemu_it_says_what_to_install(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = cached_kernel("6.1-override", "6.1")
    monkeypatch.setattr(boot, "QEMU", "no-such-qemu")
    row = run.run(kernel, said.append, ["true"])
    assert (row.tested, row.unavailable) == (False, True)
    assert (row.problem, row.hint) == ("QEMU is missing", "apt-get install qemu-system-x86")
    assert said[-1] == "not tested: QEMU is missing (apt-get install qemu-system-x86)"


def test_a_wrong_kernel_name_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.vm.bench", "4.19"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 2
    names = ", ".join(kernel.name for kernel in load().kernels)
    assert done.stderr == f"vm: no kernel is called '4.19' (there are {names})\n"


#: A process that was started in the background of a shell ignores SIGINT, and so do its children.
ALLOW_INTERRUPT = ("env", "--default-signal=INT")


def test_an_interrupt_ends_the_guests_at_once(said: list[str]) -> None:
    kernel = cached_kernel("6.1-override", "6.1")
    command = [*ALLOW_INTERRUPT, sys.executable, "-m", "tests.vm.bench", kernel.name, "--command", "sleep 600"]
    bench_process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert bench_process.stdout
    assert any(" up after " in line for line in bench_process.stdout)
    bench_process.send_signal(signal.SIGINT)
    rest, _ = bench_process.communicate(timeout=20)
    assert bench_process.returncode == 130
    assert f"[{kernel.name}] FAILED: interrupted" in rest and "Traceback" not in rest


def test_who_asks_for_a_program_that_cannot_be_compiled_is_answered_all_the_same() -> None:
    answers: list[bytes] = []
    compiler = Compiler(answers.append)
    for request in ("no request", '{"source": "no/such.c", "constants": [], "programs": {}, "maps": [], "ending": ""}'):
        compiler.ask(request)
    until(lambda: len(answers) == 2, "both are answered")
    compiler.close()
    assert answers == [b"/dev/null\n"] * 2


def test_kernels_that_are_built_begin_first_and_rows_keep_the_order_of_the_matrix(monkeypatch):
    begun = []

    def row(kernel, say, **_):
        begun.append(kernel.name)
        return kernel.name

    monkeypatch.setattr(bench, "run", row)
    kernels = load().kernels
    names = [kernel.name for kernel in kernels]
    assert bench._all(kernels, (), 1, False, True) == names
    built = [kernel.name for kernel in kernels if kernel.source]
    assert built and begun == [*built, *(name for name in names if name not in built)]
