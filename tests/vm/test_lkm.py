"""The kernel module: loading, refusing, what it withdraws and when, and what it does not take."""

from __future__ import annotations

import errno
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kernel_module
import pytest

from isotrace.backends import lkm
from isotrace.backends.lkm import Channel
from isotrace.catalog import by_number
from isotrace.enforce.calls import entries
from isotrace.errors import KernelError
from isotrace.kernel import mounts
from isotrace.trace.target import Target
from tests.live.tracer import until
from tests.vm.enforced import AUDIT, FEATURES, PROGS, Worker, compiled, deny, module_for, need, refusing

pytestmark = pytest.mark.skipif("lkm" not in FEATURES, reason="needs lkm: the module was not built")

RING = 1 << 16


@pytest.fixture(scope="module", params=["ftrace", "table"])
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """The module in the kernel, refusing in one of its two ways."""
    if request.param == "table":
        need("syscall_table")
    with kernel_module.loaded(request.param) as said:
        assert f"denies by {'ftrace' if request.param == 'ftrace' else 'sys_call_table'}" in said
        yield request.param


@pytest.fixture
def worker() -> Iterator[Worker]:
    one = Worker()
    yield one
    one.end()


# ---- refusing: what the mechanisms have in common is in test_block_bpf.py and test_block_table.py ---------------------


#: Calls number EAX with registers as an i386 program would; `low` is memory that 32 bits can point to.
I386 = """
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
static char *low;
static int call(long number, long b, long c)
{
    long result;

    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(b), "c"(c), "d"(0L), "S"(0L), "D"(0L)
             : "r8", "r9", "r10", "r11", "memory");
    return result;
}
int main(void)
{
    low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    BODY
    return 0;
}
"""


def i386(directory: Path, body: str) -> Path:
    """A program that makes 32-bit calls."""
    source = directory / "i386.c"
    source.write_text(I386.replace("BODY", body))
    subprocess.run(["gcc", "-o", directory / "i386", source], check=True)
    return directory / "i386"


def test_32_bit_calls_are_refused_too(mode: str, tmp_path: Path) -> None:
    need("ia32")
    program = i386(tmp_path, 'strcpy(low, "/tmp/isotrace-old"); printf("%d\\n", call(39, (long)low, 0755));')
    shell = subprocess.Popen(["sh", "-c", f"read line; {program}; exit"], stdin=-1, stdout=-1, text=True)
    with refusing([deny("mkdir")], Target(ppid=shell.pid)) as enforcer:
        assert shell.communicate("go\n")[0] == f"{-errno.EXDEV}\n"
        (record,) = [record for batch in enforcer.batches() for record in batch]
        assert (record.abi, record.call, record.what) == ("i386", "mkdir", "/tmp/isotrace-old")


def test_socketcall_is_judged_by_its_first_register(mode: str, tmp_path: Path) -> None:
    need("ia32")
    body = 'memcpy(low, (int[]){ 1, 1, 0 }, 12); printf("%d %d\\n", call(102, 1, (long)low), call(102, 4, (long)low));'
    shell = subprocess.Popen(["sh", "-c", f"read line; {i386(tmp_path, body)}; exit"], stdin=-1, stdout=-1, text=True)
    with refusing([deny("socket")], Target(ppid=shell.pid)):
        made, listening = map(int, shell.communicate("go\n")[0].split())
    assert made == -errno.EXDEV
    assert listening != -errno.EXDEV


def test_isotrace_itself_is_never_refused(mode: str) -> None:
    with refusing([deny("open")], Target(pid=os.getpid())) as enforcer:
        assert Path("/proc/self/stat").read_text()
        assert enforcer.counts().hits == {0: 0}


def test_a_command_and_its_descendants_from_its_first_call_on(mode: str) -> None:
    line = "mkdir /tmp/isotrace-a; sh -c 'mkdir /tmp/isotrace-b; (mkdir /tmp/isotrace-c &)'; sleep 0.2; exit 5"
    command = [sys.executable, "-m", "isotrace", "block", "--backend", "lkm", "--deny", "mkdir", "--", "sh", "-c", line]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(PROGS.parents[1])}
    )
    assert done.returncode == 5, done.stderr
    assert not list(Path("/tmp").glob("isotrace-?"))
    assert "deny mkdir → EPERM: 3 denied" in done.stderr
    assert "lkm · TOCTOU-safe yes" in done.stderr


def test_a_function_that_the_build_keeps_from_ftrace_is_named(mode: str) -> None:
    within = re.search(r"^__x64_sys_perf_event_open$", mounts.tracefs("available_filter_functions"), re.MULTILINE)
    if mode == "table" or within:
        with refusing([deny("perf_event_open")], Target(pid=os.getpid())):
            pass
    else:
        with pytest.raises(KernelError, match=r"ftrace cannot reach .*__x64_sys_perf_event_open"):
            module_for([deny("perf_event_open")], Target(pid=os.getpid())).open(None)


def test_every_call_of_i386_has_a_function_or_is_not_there(mode: str, tmp_path: Path) -> None:
    """The names of the functions are isotrace's knowledge; the kernel says ENOSYS where it has no such call."""
    need("ia32")
    missing = [call.number for call in by_number("i386").values() if not entries.functions(call.name)]
    calls = " ".join(f'if (call({number}, -1, 0) != -38) printf("{number} ");' for number in missing)
    assert subprocess.run([i386(tmp_path, calls)], capture_output=True, text=True).stdout == ""


# ---- withdrawing -----------------------------------------------------------------------------------------------------


@pytest.mark.race
def test_sigkill_withdraws_all_at_once(mode: str, worker: Worker) -> None:
    command = [
        sys.executable,
        "-m",
        "isotrace",
        "block",
        "--backend",
        "lkm",
        "--pid",
        str(worker.pid),
        "--deny",
        "mkdir",
    ]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(PROGS.parents[1])}, stderr=-1, stdout=-1)
    new = "os.mkdir('/tmp/isotrace-k') or os.rmdir('/tmp/isotrace-k')"
    until(lambda: process.poll() is not None or worker.ask(new) == "EPERM", "isotrace block is at work")
    assert process.poll() is None
    busy = kernel_module.module("unload")
    assert busy.returncode == 3 and "the module is in use" in busy.stderr
    assert f"in use by process {process.pid}" in kernel_module.module("status").stdout
    process.kill()
    process.communicate()
    assert worker.ask(new) == "ok"
    channel = Channel()
    assert channel.info().busy == 0
    channel.close()


@pytest.mark.race
def test_the_module_goes_while_a_thousand_tasks_sleep_in_hooked_calls(mode: str, tmp_path: Path) -> None:
    program = compiled(tmp_path, "sleepers")
    with refusing(
        [deny("=read,=accept,=futex,=nanosleep,=clock_nanosleep", AUDIT)], Target(uid=0, comm="sleepers")
    ) as enforcer:
        process = subprocess.Popen([program, "1000"], stdin=-1, stdout=-1, text=True)
        assert process.stdout and process.stdout.readline() == "ready\n"
        until(lambda: sum(enforcer.counts().hits.values()) >= 1000, "all have begun to sleep")
    assert kernel_module.module("unload").returncode == 0
    assert process.communicate("\n")[0] == "woke 1000\n"
    assert kernel_module.module("load", "--mode", mode).returncode == 0


# ---- what is not taken -----------------------------------------------------------------------------------------------


@pytest.fixture
def controller(mode: str) -> Iterator[Channel]:
    channel = Channel()
    channel.send("claim", ("version", lkm.VERSION), ("ring_bytes", RING))
    yield channel
    channel.close()


def refused(channel: Channel, command: str, *attrs: tuple[str, object]) -> str:
    with pytest.raises(KernelError) as caught:
        channel.send(command, *attrs)
    return caught.value.message


def test_a_second_controller(controller: Channel) -> None:
    other = Channel()
    assert "there is a controller already" in refused(other, "claim", ("version", lkm.VERSION), ("ring_bytes", RING))
    assert "another socket is the controller" in refused(other, "set_target", ("target", {"attrs": [["pid", 1]]}))
    assert "another socket is the controller" in refused(other, "stop")
    assert other.info().busy == os.getpid()
    other.close()
    controller.send("set_target", ("target", {"attrs": [["pid", os.getpid()]]}))


BAD = [
    ("claim", [("version", lkm.VERSION + 1), ("ring_bytes", RING)], "another version"),
    ("claim", [("version", lkm.VERSION)], "missing"),
    ("claim", [("version", lkm.VERSION), ("ring_bytes", RING + 4096)], "no power of two"),
    ("claim", [("version", lkm.VERSION), ("ring_bytes", 4096)], "out of range"),
]


@pytest.mark.parametrize(("command", "attrs", "why"), BAD)
def test_claims_that_are_refused(mode: str, command: str, attrs: list[tuple[str, object]], why: str) -> None:
    channel = Channel()
    assert why in refused(channel, command, *attrs)
    assert channel.info().busy == 0
    channel.close()


UNSETTABLE = [
    ("set_target", [("target", {"attrs": []})], "a condition"),
    ("set_target", [("target", {"attrs": [["follow", True]]})], "a condition"),
    ("set_target", [("target", {"attrs": [["tree", 5], ["command", 6]]})], "do not go together"),
    ("set_target", [("target", {"attrs": [["pid", 1 << 30]]})], "out of range"),
    ("set_target", [("target", {"attrs": [["comm", b"short"]]})], "(out of range|length)"),
    ("add_slots", [("slots", bytes(45))], "struct isotrace_slot"),
    ("add_slots", [("slots", lkm.SLOT.pack(5000, 1, 0) + bytes(40))], "struct isotrace_slot"),
    ("add_slots", [("slots", lkm.SLOT.pack(1, 99, 0) + bytes(40))], "struct isotrace_slot"),
    ("add_slots", [("slots", lkm.SLOT.pack(1, 1, 0) + b"\xff" * 40)], "struct isotrace_slot"),
    ("add_rules", [("rules", lkm.RULE.pack(3000, 0, 0, 0, 0, 1, 0, 0))], "struct isotrace_rule"),
    ("add_rules", [("rules", lkm.RULE.pack(1, 0, 9, 0, 0, 1, 0, 0))], "struct isotrace_rule"),
    ("add_rules", [("rules", lkm.RULE.pack(1, 0, 0, 0, 7, 1, 0, 0))], "struct isotrace_rule"),
    ("add_rules", [("rules", lkm.RULE.pack(1, 0, 0, 0, 0, 0, 0, 0))], "struct isotrace_rule"),
    ("add_rules", [("rules", b"".join(lkm.RULE.pack(n, 0, 0, 0, 0, 1, 0, 0) for n in (2, 1)))], "in order"),
    ("add_hooks", [("hooks", (0xFFFFFFFF81000000).to_bytes(8, "little"))], "not the beginning"),
    ("add_hooks", [("hooks", bytes(8))], "not the beginning"),
    ("start", [("flags", 0), ("string_limit", 1)], "no target"),
    ("start", [("flags", 64), ("string_limit", 1)], "out of range"),
    ("stop", [], "another state"),
    ("get_counters", [], "another state"),
]


@pytest.mark.parametrize(("command", "attrs", "why"), UNSETTABLE)
def test_what_a_controller_may_not_set(
    controller: Channel, command: str, attrs: list[tuple[str, object]], why: str
) -> None:
    assert re.search(why, refused(controller, command, *attrs))


def test_the_device_gives_its_reader_what_it_needs_and_no_more(mode: str, controller: Channel) -> None:
    fd = os.open(lkm.DEVICE, os.O_RDWR)
    page, shared, write, read = mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_WRITE | mmap.PROT_READ, mmap.PROT_READ
    refusals = [
        (page, shared, write, page, errno.EPERM),
        (2 * page, shared, write, 0, errno.EINVAL),
        (page + 2 * RING + page, shared, read, page, errno.EINVAL),
        (page, shared, read, 2 * page, errno.EINVAL),
        (page, mmap.MAP_PRIVATE, read, page, errno.EINVAL),
    ]
    for size, flags, protection, offset, code in refusals:
        with pytest.raises(OSError) as caught:
            mmap.mmap(fd, size, flags, protection, offset=offset)
        assert caught.value.errno == code, (size, offset)
    data = mmap.mmap(fd, page + 2 * RING, shared, read, offset=page)
    with mmap.mmap(fd, page, shared, write) as position:
        position[:8] = bytes(8)
    controller.close()
    assert data[:8] == bytes(8)  # the memory outlives the controller
    data.close()
    os.close(fd)
    with pytest.raises(OSError) as caught:
        os.open(lkm.DEVICE, os.O_RDWR)
    assert caught.value.errno == errno.ENOTCONN


def test_another_process_may_not_read_the_ring(controller: Channel) -> None:
    done = subprocess.run([sys.executable, "-S", "-c", f"open('{lkm.DEVICE}')"], capture_output=True, text=True)
    assert "Device or resource busy" in done.stderr


@pytest.mark.parametrize("who", ["setpriv --reuid 65534 --clear-groups", "unshare --user --map-root-user"])
def test_only_root_of_the_initial_user_namespace_is_obeyed(mode: str, who: str) -> None:
    command = [*who.split(), sys.executable, "-m", "isotrace", "module", "status"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(PROGS.parents[1])}
    )
    assert done.returncode == 3
    assert re.search("only root can use the kernel module|the kernel module refuses", done.stderr), done.stderr


def test_a_ring_that_nobody_reads_loses_and_counts(mode: str, worker: Worker) -> None:
    with refusing([deny("chmod", AUDIT)], Target(pid=worker.pid)) as enforcer:
        calls = 12000
        assert worker.ask(f"[os.chmod('/tmp', 0o1777) for _ in range({calls})]") == "ok"
        delivered = sum(len(batch) for batch in enforcer.batches())
        counts = enforcer.counts()
    assert counts.hits == {0: calls}
    assert counts.lost > 0
    assert delivered + counts.lost == calls
