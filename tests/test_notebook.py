"""The notebook of examples/notebook: its cells run, and give what is shown in it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "examples/notebook"
CELLS = [cell for cell in json.loads((PLACE / "build.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]


def of_a_notebook(source):
    """The cell as a program: the value of its last line is printed, unless a semicolon ends it."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if isinstance(last, ast.Expr) and not source.rstrip().endswith(";"):
        tree.body[-1] = ast.Expr(ast.Call(ast.Name("print"), [last.value], []))
    return ast.unparse(tree) + "\nprint('--')\n"


def shown(cell):
    """The text that a cell gave."""
    found = [one["data"] for one in cell["outputs"] if one["output_type"] == "execute_result"]
    return "".join("".join(one["text/plain"]) for one in found)


def test_the_cells_give_what_is_shown(tmp_path):
    for name in ("pandas", "matplotlib"):
        pytest.importorskip(name)
    program = "".join(of_a_notebook("".join(cell["source"])) for cell in CELLS)
    program += f"axes.figure.savefig({os.fspath(tmp_path / 'plot.png')!r})\n"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "MPLCONFIGDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PLACE, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    answers = done.stdout.split("--\n")
    assert [answer.split() for answer in answers] == [*(shown(cell).split() for cell in CELLS), []]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_something_is_shown_of_every_cell_and_the_last_is_a_plot():
    assert all(shown(cell) for cell in CELLS[:-1])
    assert any("image/png" in one.get("data", {}) for one in CELLS[-1]["outputs"])
    assert [cell["execution_count"] for cell in CELLS] == [*range(1, len(CELLS) + 1)]
