"""Signals to isotrace itself."""

from __future__ import annotations

import os
import pty
import sys

import pytest

from tests.terminal import ROOT

#: The leader of a session with a terminal has that stop whoever writes in the background, and forks one who does.
WRITES = """
import os, signal, sys, termios
modes = termios.tcgetattr(1)
modes[3] |= termios.TOSTOP
termios.tcsetattr(1, termios.TCSANOW, modes)
pid = os.fork()
if not pid:
    os.setpgid(0, 0)
    if sys.argv[1] == "held":
        from isotrace.process import interrupts
        interrupts.hold()
    os.write(1, b"a line ")
    os._exit(0)
_, status = os.waitpid(pid, os.WUNTRACED)
if os.WIFSTOPPED(status):
    os.kill(pid, signal.SIGKILL)
print("stopped" if os.WIFSTOPPED(status) else "written", "END")
"""


@pytest.mark.parametrize(("how", "said"), [("bare", "stopped"), ("held", "a line written")])
def test_no_terminal_stops_isotrace_for_writing_in_the_background(how, said):
    pid, terminal = pty.fork()
    if not pid:
        os.execve(sys.executable, [sys.executable, "-c", WRITES, how], os.environ | {"PYTHONPATH": str(ROOT)})
    found = b""
    while b"END" not in found:
        found += os.read(terminal, 1000)
    os.waitpid(pid, 0)
    os.close(terminal)
    assert found.decode().strip() == f"{said} END"
