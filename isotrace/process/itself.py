"""isotrace run by isotrace: another verb as a child, which ends with this one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import isotrace
from isotrace.process import verbose

#: Where isotrace is may be no place that Python looks at by itself: a distribution's package has one of its own.
_PLACE = Path(isotrace.__file__).parents[1]
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv[0] = 'isotrace'; "
    "from isotrace.__main__ import main; main()"
)


def start(words: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
    """Start ``isotrace WORDS``; ``streams`` are Popen's. Modules are not looked for in the working directory."""
    return subprocess.Popen([sys.executable, "-P", "-c", _START, str(_PLACE), *verbose.words(), *words], **streams)


def run(words: Sequence[str]) -> int:
    """Run ``isotrace WORDS`` on this one's standard streams; returns its exit status."""
    with start(words) as process:
        return process.wait()
