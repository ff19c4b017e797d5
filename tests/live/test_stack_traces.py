"""User stacks: ``log -k``."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import tracer

from isotrace.stacks.frames import REASONS, End

Compile = Callable[..., Path]

FRAME = re.compile(
    r" > (?P<path>\S+)\((?:(?P<name>.+)\+0x[0-9a-f]+)?\) \[0x(?P<place>[0-9a-f]+)\]( \(caller by frame pointer\))?"
)
CHAIN = ["syscall", "third", "second", "first", "main"]
#: What the C library has between `main` and `_start`, which is not the same everywhere.
BEFORE_MAIN = re.compile(r"__libc_start_\w+|libc_start_\w+")


def stacks(text: str, call: str) -> list[list[str]]:
    """The lines below each call of that name."""
    found: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith(" > "):
            inside = f" {call}(" in line
            if inside:
                found.append([])
        elif inside:
            found[-1].append(line)
    return found


def names(stack: list[str]) -> list[str]:
    """Its functions, the innermost first; "" where none is known; a line that is no frame as it is."""
    return [match["name"] or "" if (match := FRAME.fullmatch(line)) else line for line in stack]


def ends(why: End) -> str:
    """The last line of a stack that is not whole."""
    return f" > ... ({REASONS[why]})"


def run(*args: object, calls: str = "write") -> tracer.Run:
    """A run of which nothing is lost."""
    done = tracer.log("-k", "--calls", calls, "--", *args)
    assert done.counts[2] == 0, done.err
    return done


def only(done: tracer.Run, marks: str = "write(77, ") -> list[str]:
    """The one stack of the call under test."""
    at = [line for line in done.file.splitlines() if marks in line]
    assert len(at) == 1, done.file
    (found,) = stacks(done.file[done.file.index(at[0]) :].split("\n1", 1)[0], "write")[:1]
    return found


def without_start(found: list[str]) -> list[str]:
    return [name for name in found if not BEFORE_MAIN.fullmatch(name)]


UNWOUND = {
    "tables": ["-fomit-frame-pointer"],
    "frame pointers": ["-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables"],
    "both": ["-fno-omit-frame-pointer"],
}


@pytest.mark.parametrize("how", UNWOUND)
def test_a_known_chain_of_callers(compiled: Compile, how: str) -> None:
    found = only(run(compiled("stacks", *UNWOUND[how]), "chain"))
    assert without_start(names(found)) == [*CHAIN, "_start"]
    program = str(compiled("stacks", *UNWOUND[how]))
    assert [line.split("(")[0] for line in found[1:5]] == [f" > {program}"] * 4


def test_without_tables_and_frame_pointers_the_stack_is_said_to_end(compiled: Compile) -> None:
    flags = ["-fomit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]
    found = only(run(compiled("stacks", *flags), "chain"))
    assert names(found) == ["syscall", "third", ends(End.NO_TABLE)]


def test_what_is_beyond_the_memory_that_was_copied_is_said_to_be_missing(compiled: Compile) -> None:
    found = only(run(compiled("stacks"), "deep"))
    assert names(found) == ["syscall", "third", "second", ends(End.MEMORY)]


def test_a_handler_of_a_signal_is_left_to_what_it_interrupted(compiled: Compile) -> None:
    found = names(only(run(compiled("stacks"), "signal")))
    assert found[:5] == ["syscall", "third", "second", "first", "handler"]
    assert found[5].startswith("__restore_rt") or found[5] == ""
    assert found[-1] == ends(End.MEMORY), "the other stack was not copied"


def test_a_call_that_keeps_its_way_back_in_a_register(compiled: Compile) -> None:
    (found,) = stacks(run(compiled("stacks"), "vfork", calls="vfork").file, "vfork")
    assert without_start(names(found))[1:] == ["by_vfork", "main", "_start"]


def test_a_thread_begins_where_it_was_started(compiled: Compile) -> None:
    found = only(run(compiled("stacks"), "thread"))
    assert names(found)[:5] == ["syscall", "third", "second", "first", "in_thread"]
    assert FRAME.fullmatch(found[-1]), "the stack is whole"
    assert "main" not in names(found)


def test_what_executes_another_program_at_once_has_its_own_names(compiled: Compile) -> None:
    """Both stacks are read when neither program runs any more."""
    one, other = compiled("stacks", "-DONE"), compiled("stacks", "-DOTHER", "-static")
    done = run(one, "exec", other, calls="write,execve")
    found = [stack for stack in stacks(done.file, "write") if "third" in names(stack)]
    paths = [{FRAME.fullmatch(line)["path"] for line in stack[-1:]} for stack in found]
    assert paths == [{str(one)}, {str(other)}]
    assert [without_start(names(stack))[-5:] for stack in found] == [["third", "second", "first", "main", "_start"]] * 2
    execs = stacks(done.file, "execve")
    assert "main" in names(execs[-1]), "of an execve the stack of who made it"


LIBRARY = """
__attribute__((noinline)) void %s(void (*next)(void)) { next(); asm volatile(""); }
void called(void (*next)(void)) { %s(next); asm volatile(""); }
"""


def library(directory: Path, name: str, *flags: str) -> Path:
    (directory / f"{name}.c").write_text(LIBRARY % (name, name))
    target = directory / f"lib{name}.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", *flags, "-o", target, directory / f"{name}.c"]
    subprocess.run(command, check=True)
    return target


@pytest.mark.parametrize("flags", [(), ("-Wl,--build-id=none",)], ids=["by build id", "by inode"])
def test_of_two_libraries_that_lay_at_one_address_each_has_its_own_names(
    compiled: Compile, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    paths = [library(tmp_path, name, *flags) for name in ("early", "later")]
    done = run(compiled("stacks"), "libraries", *paths)
    addresses = done.out.split()
    assert len(addresses) == 2 and addresses[0] == addresses[1], "the test needs them at one place"
    found = [stack for stack in stacks(done.file, "write") if "third" in names(stack)]
    assert [names(stack)[2] for stack in found] == ["early", "later"]
    assert [FRAME.fullmatch(stack[2])["path"] for stack in found] == [str(path) for path in paths]


def test_a_file_that_was_replaced_gives_no_names(compiled: Compile, tmp_path: Path) -> None:
    """By the time that its symbols are asked for another file has the path."""
    early, later = library(tmp_path, "early"), library(tmp_path, "later")
    program = str(compiled("stacks"))
    first = partial(os.spawnl, os.P_WAIT, program, program, "chain")
    with tracer.attached("-k", "--calls", "write", "--comm", "stacks", ready=first) as live:
        live.process.send_signal(signal.SIGSTOP)
        subprocess.run([program, "libraries", early, early], check=True, stdout=subprocess.DEVNULL)
        later.rename(early)
        live.process.send_signal(signal.SIGCONT)
        tracer.until(lambda: early.name in live.text(), "the calls are shown")
        done = live.stop()
    found = [stack for stack in stacks(done.file, "write") if any(str(early) in line for line in stack)]
    assert [FRAME.fullmatch(stack[2])["path"] for stack in found] == [str(early)] * 2
    assert [stack[3:] for stack in found] == [[ends(End.NO_FILE)]] * 2


def test_symbols_of_a_stripped_program_are_found_by_its_debuglink(compiled: Compile, tmp_path: Path) -> None:
    program = tmp_path / "stripped"
    shutil.copy(compiled("stacks"), program)
    objcopy = ["objcopy", "--only-keep-debug", program, tmp_path / "stripped.debug"]
    subprocess.run(objcopy, check=True)
    subprocess.run(["strip", program], check=True)
    assert "third" not in names(only(run(program, "chain")))
    subprocess.run(["objcopy", "--add-gnu-debuglink=stripped.debug", "stripped"], check=True, cwd=tmp_path)
    assert without_start(names(only(run(program, "chain")))) == [*CHAIN, "_start"]
    (tmp_path / "stripped.debug").write_bytes((tmp_path / "stripped.debug").read_bytes()[:-8])
    assert "third" not in names(only(run(program, "chain"))), "another file than the link is to"


@pytest.mark.parametrize("how", ["keep", "steal", "link", ""])
def test_code_that_a_program_makes_is_named_by_its_own_perf_map(compiled: Compile, how: str) -> None:
    done = run(compiled("stacks", "-fno-omit-frame-pointer"), "generated", *([how] if how else []))
    for file in Path("/tmp").glob(f"perf-{done.file.split()[0]}.map*"):
        file.unlink()
    found = only(done)
    match = FRAME.fullmatch(found[2])
    assert match and match[4], found
    if how == "keep":
        assert match["name"] == r"generated_one \33[31m" and re.fullmatch(r"/tmp/perf-\d+\.map", match["path"])
    else:
        assert match["name"] is None and match["path"] == "?"
    assert names(found)[3:5] == ["by_code", "main"] and names(found)[-1] == "_start"


def test_a_process_that_ran_before_has_names() -> None:
    def speak() -> None:
        shell.stdin.write("x\n")
        shell.stdin.flush()

    with (
        tracer.started(["/bin/sh", "-c", "while read x; do :; done"]) as shell,
        tracer.attached("-k", "--pid", shell.pid, "--calls", "read", ready=speak) as live,
    ):
        done = live.stop()
    found = next(stack for stack in stacks(done.file, "read") if stack)
    assert FRAME.fullmatch(found[-1]) and "/libc.so" in found[0] and "sh(" in found[-1], found


def places(text: str) -> list[tuple[str, list[str]]]:
    """Each call's name, and the places of its frames."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if match := re.fullmatch(r" > .*\[(0x[0-9a-f]+)\]", line):
            found[-1][1].append(match[1])
        elif match := re.match(r"\d+ +(?:\S+  )?(\w+)\(", line):
            found.append((match[1], []))
    return found


def test_frames_are_those_of_strace(tmp_path: Path) -> None:
    """Address for address, but of what ends the process or the program, where strace has none or others."""
    if (
        not shutil.which("strace")
        or "-k" not in subprocess.run(["strace", "-h"], capture_output=True, text=True).stdout
    ):
        pytest.skip("needs strace -k")
    command = ["ls", "/", "/proc/self/status"]
    theirs = tmp_path / "strace"
    strace = ["strace", "-k", "-f", "-o", theirs, *command]
    subprocess.run(strace, check=True, capture_output=True, env=tracer.environment(), stdin=subprocess.DEVNULL)
    ours = tracer.log("-k", "--", *command)
    wanted = [one for one in places(theirs.read_text()) if one[0] not in ("execve", "exit_group")]
    found = [one for one in places(ours.file) if one[0] not in ("execve", "exit_group")]
    assert len(wanted) > 50 and found == wanted


def test_recordings_keep_stacks(compiled: Compile, tmp_path: Path) -> None:
    record, program = tmp_path / "t.arrow", tmp_path / "program"
    shutil.copy(compiled("stacks"), program)
    run = tracer.log("-k", "-T", "--record", record, "--calls", "write", "--", program, "chain")
    program.unlink()
    assert tracer.replay(record, "-k", "-T").decode() == run.file
    strace = tracer.replay(record, "-k", "--format", "strace").decode()
    assert stacks(strace, "write") == stacks(run.file, "write")
    assert " > " not in tracer.replay(record).decode()
    (call,) = [
        one
        for line in tracer.replay(record, "-k", "--format", "json").splitlines()
        if "stack" in (one := json.loads(line))
    ]
    assert [frame["symbol"] for frame in call["stack"]][:5] == CHAIN and call["stack_ends"] is None
    assert call["stack"][1]["file"] == str(program)
    folded = tracer.replay(record, "-k", "--format", "folded").decode()
    assert re.fullmatch(r"program;_start;\w+;(\w+;)?main;first;second;third;syscall;write 1\n", folded)
    export = [sys.executable, "-m", "isotrace", "export", record, "--to", "folded"]
    done = subprocess.run(export, capture_output=True, text=True, env=tracer.environment(), check=True)
    assert done.stdout == folded


def test_a_recording_without_stacks_has_none_to_show(tmp_path: Path) -> None:
    record = tmp_path / "t.arrow"
    assert tracer.log("--record", record, "--", "true").status == 0
    for command in (["log", "-k", "--from", record], ["export", record, "--to", "folded"]):
        whole = [sys.executable, "-m", "isotrace", *map(str, command)]
        done = subprocess.run(whole, capture_output=True, text=True, env=tracer.environment(), check=False)
        assert done.returncode == 2 and "record -k" in done.stderr
