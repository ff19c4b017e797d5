"""isotrace that gets a signal at a moment that can be chosen: when it imports a module."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: What Python runs before the program.
_SITE = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["SIGNALLED_AT"]:
            os.kill(os.getpid(), int(os.environ["SIGNALLED_BY"]))
sys.meta_path.insert(0, Finder())
"""


def signalled(place: Path, at: str, number: int, *command: str) -> subprocess.CompletedProcess[str]:
    """``[nohup] isotrace ARGS`` to its end, in ``place``; it gets the signal when it first imports ``at``.

    Whoever runs the tests may keep signals from them: nohup does, and shells do from what they start in the background.
    """
    (place / "sitecustomize.py").write_text(_SITE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(place), str(ROOT)])}
    environment |= {"SIGNALLED_AT": at, "SIGNALLED_BY": str(int(number))}
    before = command.index("isotrace")
    return subprocess.run(
        ["env", "--default-signal=HUP,INT,QUIT,TERM", *command[:before], sys.executable, "-m", *command[before:]],
        env=environment, capture_output=True, text=True, check=False, cwd=place, stdin=subprocess.DEVNULL,
    )  # fmt: skip
