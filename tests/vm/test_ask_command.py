"""isotrace ask of processes that run already: a shell's children read a key and connect, and always is for good."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from asked import Asked

from tests.vm.enforced import need_for

ISOTRACE = (sys.executable, "-m", "isotrace")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
PATIENCE = 600  # seconds: what asks is compiled first, under emulation
CONNECT = "import socket; socket.create_connection(('127.0.0.1', {}), 30)"


class Shell(Asked):
    """Runs each line, and says its exit status."""

    def __init__(self):
        super().__init__(["sh"])
        self.pid = self.process.pid

    def run(self, line):
        return self.ask(f"{line} >/dev/null 2>&1; echo $?")


class Asking:
    """isotrace ask of a tree, answered by a program: a line of ``answers`` by what is asked about."""

    def __init__(self, pid, directory, *words):
        self.answers, self.questions = directory / "answers.json", directory / "questions"
        answering = directory / "answer.py"
        answering.write_text(
            "import json, sys, time\n"
            "question = json.load(sys.stdin)\n"
            f"with open({str(self.questions)!r}, 'a') as file:\n"
            "    print(json.dumps(question), file=file)\n"
            f"answers = json.load(open({str(self.answers)!r}))\n"
            "if not answers:\n"
            "    time.sleep(1000)\n"
            "print(next(answer for what, answer in answers.items() if what in (question['what'] or question['call'])))\n"
        )
        command = (*ISOTRACE, "ask", "--tree", str(pid), "--answer-with", f"{sys.executable} {answering}", *words)
        self.lines, self.said = directory / "lines", directory / "said"
        with self.lines.open("w") as out, self.said.open("w") as said:
            self.process = subprocess.Popen(command, stdout=out, stderr=said, env=ENVIRONMENT)

    def begin(self, ask):
        """Return once ``ask``, a call, leads to a question, which is denied."""
        self.answer(**{"": "deny"})
        end = time.monotonic() + PATIENCE
        while ask() and not self.asked():
            assert self.process.poll() is None and time.monotonic() < end, self.said.read_text()

    def answer(self, **answers):
        self.answers.write_text(json.dumps(answers))
        self.questions.write_text("")

    def asked(self):
        return [json.loads(line) for line in self.questions.read_text().splitlines()]

    def end(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.said.read_text()
        return self.lines.read_text()


@pytest.mark.parametrize("mechanism", ["lsm"])
def test_a_shells_children_are_asked_about_and_always_is_for_good(mechanism, tmp_path):
    need_for(mechanism)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    home = tmp_path / "home"
    (home / "alice/.ssh").mkdir(parents=True)
    key = home / "alice/.ssh/id_ed25519"
    key.write_text("secret")
    key.with_name("config").touch()
    policy, shell = tmp_path / "answers.toml", Shell()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    connecting = f'{sys.executable} -S -c "{CONNECT.format(port)}"'
    words = ("--ask-path", f"r:{home}/*/.ssh/**", "--ask-net", "any:", "--policy", str(policy))
    try:
        asking = Asking(shell.pid, tmp_path, *words)
        asking.begin(lambda: shell.run(f"cat {home}/alice/.ssh/config"))
        asking.answer(id_ed25519="allow", **{"127.0.0.1": "deny"})
        assert shell.run(f"cat {key}") == "0" and shell.run(connecting) == "1"
        reads, connects = asking.asked()
        assert (reads["what"], reads["access"], reads["comm"]) == (str(key), "r", "cat")
        assert (connects["call"], connects["what"]) == ("connect", f"127.0.0.1:{port}")
        assert reads["parents"][0]["pid"] == shell.pid
        asking.answer(id_ed25519="deny", **{"127.0.0.1": "allow"})
        assert shell.run(f"cat {key}") == "1" and shell.run(connecting) == "0"
        assert len(asking.asked()) == 2
        asking.answer(id_ed25519="allow always", **{"127.0.0.1": "deny always"})
        assert shell.run(f"cat {key}") == "0" and shell.run(connecting) == "1"
        asking.answer()  # to no question any more
        assert shell.run(f"cat {key}") == "0" and shell.run(connecting) == "1"
        assert not asking.asked()
        lines = asking.end()
        assert "allowed" in lines and "denied" in lines
        checked = subprocess.run(
            [*ISOTRACE, "policy", "check", policy], env=ENVIRONMENT, capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stderr
        again = Asking(shell.pid, tmp_path, *words)
        again.begin(lambda: shell.run(f"cat {home}/alice/.ssh/config"))
        again.answer()
        assert shell.run(f"cat {key}") == "0" and shell.run(connecting) == "1"
        assert not again.asked()
        again.end()
        assert shell.run(connecting) == "0"  # nothing is left of it
        alone = Asking(shell.pid, tmp_path, *words[:-1], str(tmp_path / "new.toml"), "--timeout", "3s")
        alone.begin(lambda: shell.run(f"cat {home}/alice/.ssh/config"))
        alone.answer()  # nobody does
        assert shell.run(f"cat {key}") == "1" and shell.run(connecting) == "1"
        assert "not answered" in alone.end()
    finally:
        shell.end()
        listener.close()
