"""Compiling for the guests on the host: what isotrace there asks for, it finds in a file of the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from isotrace.backends import loader

from . import cache
from .matrix import ROOT


def compiled(request: str) -> Path:
    """The file with the answer to ``request``, as isotrace.backends.serve gives it; answers that are no programs, too."""
    final = cache.place("compiled") / loader.key(json.loads(request))
    if not final.exists():
        command = [sys.executable, "-m", "isotrace.backends.serve"]
        done = subprocess.run(command, cwd=ROOT, input=request.encode(), capture_output=True, check=False)
        if not done.stdout:  # it was killed, perhaps: another time there may be an answer
            return Path(os.devnull)
        with cache.staged(final) as part:
            part.write_bytes(done.stdout)
    return final


class Compiler:
    """Answers one guest's requests, in their order."""

    def __init__(self, answer: Callable[[bytes], object]) -> None:
        """``answer`` sends a line to the guest."""
        self._answer = answer
        self._pool = ThreadPoolExecutor(1)

    def ask(self, request: str) -> None:
        """Have the request answered, some time later; whoever asks waits for a line, whatever happens here."""

        def answer() -> None:
            file = Path(os.devnull)
            try:
                file = compiled(request)
            finally:
                self._answer(f"{file}\n".encode())

        self._pool.submit(answer)

    def close(self) -> None:
        """Take no more."""
        self._pool.shutdown(cancel_futures=True)
