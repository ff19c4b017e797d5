"""What is packed into the wheel: all that isotrace runs with, and nothing that a build has left behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOPS = ("isotrace", "bpf", "kernel_fallback")
STRAYS = [
    "bpf/trace.o",
    "kernel_fallback/isotrace.ko",
    "kernel_fallback/.hook.o.cmd",
    "isotrace/kernel/x.so",
    "bpf/block.h.orig",
]


def test_the_wheel_has_what_is_needed_and_nothing_else(tmp_path):
    tree = tmp_path / "tree"
    for name in TOPS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.ko", "*.o", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tree)
    files = [path for top in TOPS for path in tree.glob(f"{top}/**/*") if path.is_file()]
    kept = {str(path.relative_to(tree)) for path in files}
    for name in STRAYS:
        (tree / name).write_text("stray")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, tmp_path], cwd=tree, capture_output=True, text=True, timeout=120, check=True
    )
    with zipfile.ZipFile(tmp_path / done.stdout.strip()) as wheel:
        packed = {name for name in wheel.namelist() if not name.startswith("isotrace-")}
    moved = {"bpf": "isotrace/_bpf", "kernel_fallback": "isotrace/_kernel_fallback", "isotrace": "isotrace"}
    assert packed == {f"{moved[top]}/{rest}" for top, _, rest in (name.partition("/") for name in kept)}
    assert {
        "isotrace/py.typed",
        "isotrace/_bpf/trace.c",
        "isotrace/_kernel_fallback/Kbuild",
        "isotrace/learning/base.toml",
    } <= packed
