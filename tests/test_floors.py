"""The floors of the house: no module of isotrace imports from a package above its own, also not inside a function."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "isotrace"
#: From the ground up, as ARCHITECTURE.md has them.
FLOORS = (
    *(
        "errors",
        "units",
        "process",
        "kernel",
        "decode",
        "catalog",
        "containers",
        "trace",
        "stacks",
        "backends",
        "kmod",
        "render",
    ),
    *(
        "policy",
        "handover",
        "enforce",
        "verify",
        "sinks",
        "recording",
        "learning",
        "export",
        "asking",
        "run",
        "top",
        "library",
        "commands",
    ),
    *("cli", "__main__"),
)
MODULES = sorted(file.relative_to(HOUSE) for file in HOUSE.rglob("*.py") if file != HOUSE / "__init__.py")


def imported(file: Path) -> set[str]:
    """The packages of isotrace that a file imports from, or names in a string to be imported by."""
    names: list[str | None] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "isotrace":
            names += [f"isotrace.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.append(node.value)
    return {match[1] for name in names if (match := re.match(r"isotrace\.(\w+)[\w.:]*$", name or ""))} & set(FLOORS)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_module_imports_from_a_floor_above(module):
    own = FLOORS.index(module.parts[0].removesuffix(".py"))
    assert {name for name in imported(HOUSE / module) if FLOORS.index(name) > own} == set()
