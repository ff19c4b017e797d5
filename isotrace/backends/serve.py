"""``python -m isotrace.backends.serve``: compiles for an isotrace elsewhere, whose ISOTRACE_COMPILER runs this.

On standard input a request, which names a file of bpf/ (both sides need the same isotrace), constants and programs; on
standard output the instructions and maps, as JSON. It needs BCC and the right to create BPF maps, and loads nothing.
"""

from __future__ import annotations

import os
import sys

from isotrace.backends import loader

if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what BCC prints is no answer
    loader.answer(sys.stdin.buffer, answers)
