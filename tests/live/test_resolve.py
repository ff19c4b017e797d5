"""`isotrace log --resolve`: which paths relative ones are, while directories are changed and renamed; never another one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import tracer

Compile = Callable[..., Path]

OPENED = re.compile(
    r'openat\((?P<dir>[^,]+), "\./marker" /\* (?P<path>.*?) \*/, O_RDONLY(?P<rest>\|O_CLOEXEC)?\) += \d+(?P<made>.*)'
)
TURNS, OPENS = 40, 100  # of a turn by both threads: tests/progs/moves.c


def test_no_path_is_resolved_to_another_one_while_threads_change_and_rename_directories(
    compiled: Compile, tmp_path: Path
) -> None:
    """While nobody moves each is known."""
    command = ["--", compiled("moves"), tmp_path, TURNS]
    run = tracer.log("--resolve", "-y", "--calls", "openat,pread64", *command, cwd=tmp_path)
    assert run.status == 0 and run.counts[2] == 0
    opened: dict[int, re.Match[str]] = {}
    at_rest = 0
    for line in run.lines:
        if found := OPENED.fullmatch(line.text):
            opened[line.tid] = found
        elif line.name == "pread64" and (before := opened.pop(line.tid, None)):
            (content,) = re.findall(r'"([abc])"', line.args)
            at_rest += before["rest"] is not None
            if before["path"] == "?":
                assert not before["rest"], before[0]
                continue
            directory = re.fullmatch(rf'"{re.escape(str(tmp_path))}/([abc])\d*/\./marker"', before["path"])
            assert directory and directory[1] == content, (before[0], line.text)
            if before["made"] != "<?>":
                assert before["made"] == f"<{before['path'][1:-1].replace('/./', '/')}>", before[0]
    assert at_rest == TURNS // 2 * OPENS


def test_paths_are_whole_through_chdir_descriptors_and_chroot(tmp_path: Path) -> None:
    program = f"""
import ctypes, os, struct
for name in ("d", "d/e", "jail", "jail/in"): os.mkdir(name)
home, inner = os.open("d", os.O_RDONLY), os.open("d/e", os.O_RDONLY)
os.chdir("d"); os.chdir("../d"); os.rename("e", "f"); os.mkdir("g", dir_fd=inner)
os.symlink("text", "link"); os.link("link", "other", src_dir_fd=home, dst_dir_fd=inner, follow_symlinks=False)
os.fchdir(inner); os.stat("g"); os.access("nothing", 0)
for resolve in (0, 0x10): ctypes.CDLL(None).syscall(437, home, b"f/g", struct.pack("<QQQ", os.O_RDONLY, 0, resolve), 24)
os.chdir("{tmp_path}"); os.chroot("jail"); os.chdir("/"); os.stat("/in"); os.stat("in"); os.stat("{"n" * 200}/..")
"""
    names = "mkdir,mkdirat,chdir,fchdir,rename,symlink,linkat,newfstatat,stat,access,faccessat2,openat2,chroot"
    recording = tmp_path / "t.arrow"
    options = ["--resolve", "--calls", names, "--record", recording]
    run = tracer.log(*options, "--", sys.executable, "-S", "-E", "-c", program, cwd=tmp_path)
    at = str(tmp_path)
    begin = next(i for i, line in enumerate(run.lines) if line.name == "mkdir")
    found = [re.sub(r"0\d{3}|\{.*\}", "_", line.args) for line in run.lines[begin:] if line.name]
    said = [", ".join(part for part in re.findall(r'"[^"]*"(?: /\* .*? \*/)?', args)) for args in found]

    def whole(given: str, path: str) -> str:
        return f'"{given}" /* "{at}/{path}" */'

    expected = [
        *(whole(name, name) for name in ("d", "d/e", "jail", "jail/in", "d")),
        *(whole("../d", "d/../d"), f"{whole('e', 'd/e')}, {whole('f', 'd/f')}", whole("g", "d/f/g")),
        *(f'"text", {whole("link", "d/link")}', f"{whole('link', 'd/link')}, {whole('other', 'd/f/other')}"),
        *("", whole("g", "d/f/g"), whole("nothing", "d/f/nothing")),
        *(whole("f/g", "d/f/g"), '"f/g" /* ? */', f'"{at}"', whole("jail", "jail")),
        *(f'"/" /* "{at}/jail/" */', f'"/in" /* "{at}/jail/in" */', whole("in", "jail/in")),
        whole("n" * 200 + "/..", "jail/" + "n" * 200 + "/.."),
    ]
    assert said[: len(expected)] == expected
    shown = [line.args for line in tracer.parse(tracer.replay(recording, "--resolve").decode()) if line.name]
    assert shown == [line.args for line in run.lines if line.name]


def test_what_is_not_known_is_said_to_be_unknown(tmp_path: Path) -> None:
    gone = "import os; os.mkdir('d'); os.chdir('d'); os.rmdir('../d'); os.access('x', 0); os.execl('./true', 'x')"
    run = tracer.log("--resolve", "--", sys.executable, "-c", gone, cwd=tmp_path)
    calls = [line.call for line in run.lines]
    assert any(re.match(r'f?access\w*\((AT_FDCWD, )?"x" /\* \? \*/, F_OK', call) for call in calls), "removed"
    assert any(call.startswith('execve("./true" /* ? */, ["x"]') for call in calls), "not looked at"


def test_a_recording_without_them_has_none_to_show(tmp_path: Path) -> None:
    recording = tmp_path / "t.arrow"
    assert tracer.log("-y", "--record", recording, "--", "true").status == 0
    command = [sys.executable, "-m", "isotrace", "log", "--resolve", "--from", str(recording)]
    done = subprocess.run(command, capture_output=True, text=True, env=tracer.environment(), check=False)
    assert done.returncode == 2 and "record --resolve" in done.stderr
