"""What a sandbox refuses is shown with the very path that was refused, though nobody had touched its page."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tracer
from tracer import argv, environment, until

Compile = Callable[..., Path]

ATTEMPTS = 5
CALLS = "open,symlink,connect,execve,rmdir,chdir,writev,sendmsg,sendmmsg"
REFUSED = [
    'open("/x/secret" /* read later */, O_RDONLY) = -1 EPERM (Operation not permitted)',
    'symlink("/x/from" /* read later */, "/x/to" /* read later */) = -1 EPERM (Operation not permitted)',
    'connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")} /* read later */, 16) = -1 EPERM'
    " (Operation not permitted)",
    'execve("/x/command" /* read later */, ["command", "--option"] /* read later */, NULL) = -1 EPERM'
    " (Operation not permitted)",
    'writev(3, [{iov_base="one", iov_len=3}, {iov_base="two", iov_len=3}] /* read later */, 2) = -1 EPERM'
    " (Operation not permitted)",
    'sendmsg(3, {msg_name={sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, msg_namelen=16, '
    'msg_iov=[{iov_base="three", iov_len=5}, {iov_base="four", iov_len=4}], msg_iovlen=2, msg_controllen=0, msg_flags=0}'
    " /* read later */, 0) = -1 EPERM (Operation not permitted)",
    'sendmmsg(3, [{msg_hdr={msg_name=NULL, msg_namelen=16, msg_iov=[{iov_base="five", iov_len=4}, '
    '{iov_base="six", iov_len=3}], msg_iovlen=2, msg_controllen=0, msg_flags=0}}, '
    '{msg_hdr={msg_name=NULL, msg_namelen=16, msg_iov=[{iov_base="seven", iov_len=5}, {iov_base="eight", iov_len=5}], '
    "msg_iovlen=2, msg_controllen=0, msg_flags=0}}] /* read later */, 2, 0) = -1 EPERM"
    " (Operation not permitted)",
    'open("/x/there", O_RDONLY) = -1 EPERM (Operation not permitted)',
    "chdir(0x8<fault>) = -1 EFAULT (Bad address)",
]


def traced(
    program: Path, tmp_path: Path, how: str = "", *options: object
) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """What is shown of ./unread, which goes on until all of it is."""
    output = tmp_path / "trace"
    command = argv("-o", output, "--calls", CALLS, *options, "--", program, tmp_path / "pages", *how.split())
    run = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        until(lambda: run.poll() is not None or "chdir" in (output.read_text() if output.exists() else ""), "all of it")
        _, err = run.communicate(timeout=tracer.PATIENCE)
    finally:
        run.kill()
        run.wait()
    first, *found = [line.call for line in tracer.parse(output.read_text())]
    assert first.startswith("execve(") and first.endswith(" = 0")
    shown = [line for line in found if not line.startswith("+++")]
    return shown, subprocess.CompletedProcess(command, run.returncode, "", err)


@pytest.mark.parametrize("flags", [(), ("-m32",)], ids=["64", "32"])
def test_what_a_sandbox_refuses_is_read_at_once(compiled: Compile, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """On a busy machine the thread that reads may come too late: the address is shown then, and nothing false."""
    for _ in range(ATTEMPTS):
        shown, done = traced(compiled("unread", *flags), tmp_path, "", "--record", tmp_path / "t.arrow")
        assert done.returncode == 0 and " 0 lost" in done.stderr
        command = [sys.executable, "-m", "isotrace", "log", "--from", str(tmp_path / "t.arrow")]
        again = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
        assert [line.call for line in tracer.parse(again.stdout)][1 : len(shown) + 1] == shown
        if shown == REFUSED:
            return
    pytest.fail("\n".join(shown))


def test_what_descriptor_a_sandbox_refused_is_not_known(compiled: Compile, tmp_path: Path) -> None:
    """Such a call comes to no sys_enter, and what the number is by its end is another question."""
    shown, done = traced(compiled("unread"), tmp_path, "", "-y")
    assert done.returncode == 0
    assert [line.partition("<")[2][:3] for line in shown if line.startswith("connect(")] == ["?>,"]


def test_a_page_that_nobody_brings_holds_nothing_up(compiled: Compile, tmp_path: Path) -> None:
    """userfaultfd: whoever reads the page waits for ever."""
    shown, done = traced(compiled("unread"), tmp_path, "stuck")
    if done.returncode == 77:
        pytest.skip("needs userfaultfd: this kernel has none")
    assert re.fullmatch(r"rmdir\(0x[0-9a-f]+<fault>\) = -1 EPERM \(Operation not permitted\)", shown[0])
    assert len(shown) == len(REFUSED) + 1 and shown[-2:] == REFUSED[-2:]
    assert done.returncode == 0 and " 0 lost" in done.stderr
