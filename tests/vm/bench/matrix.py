"""kernels.toml as objects, and which of them were asked for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isotrace.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]
VM = ROOT / "tests" / "vm"
MATRIX = VM / "kernels.toml"


@dataclass(frozen=True)
class Kernel:
    """One kernel of the matrix. Exactly one of ``image`` and ``source`` (regular expressions) is set.

    ``fragment`` is added to the configuration that ``extends`` is, where that is given. A kernel that is ``on_demand`` is
    for strict runs only: a lenient one leaves it out. ``tests``, where given, are all that is of use on it, and ``marker``
    says which of them. ``processors`` and ``mitigations`` are the machine's. With ``package`` the guest has the files of
    isotrace's Debian package (package.py), and a processor that its libraries run on.
    """

    name: str
    release: str
    suites: tuple[str, ...]
    features: frozenset[str]
    image: str = ""
    source: str = ""
    fragment: Path | None = None
    extends: Path | None = None
    library_suites: tuple[str, ...] = ()
    append: str = ""
    quick: bool = False
    on_demand: bool = False
    tests: tuple[Path, ...] = ()
    marker: str = ""
    processors: int = 1
    mitigations: bool = False
    package: bool = False


@dataclass(frozen=True)
class Matrix:
    """All kernels, and the vocabulary of features with what each means."""

    kernels: tuple[Kernel, ...]
    features: dict[str, str]


def load(path: Path = MATRIX) -> Matrix:
    """Read the matrix. Raises ``UsageError`` for a kernel that it cannot mean."""
    data = tomllib.loads(path.read_text())
    features = data["features"]
    rows = {row["name"]: row for row in data["kernel"]}
    return Matrix(tuple(_kernel(_whole(row, rows), features, path.parent) for row in data["kernel"]), features)


def _whole(row: dict[str, Any], rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A row with what it takes from the one that it is ``like``."""
    if "like" not in row:
        return row
    if row["like"] not in rows:
        raise UsageError(f"kernel {row['name']}: it is to be like {row['like']}, which is not there")
    return {**rows[row["like"]], **{key: value for key, value in row.items() if key != "like"}}


def _kernel(row: dict[str, Any], vocabulary: dict[str, str], base: Path) -> Kernel:
    name = row["name"]
    if unknown := sorted(set(row["features"]) - set(vocabulary)):
        raise UsageError(f"kernel {name}: unknown feature {', '.join(unknown)}", "add it to the [features] table")
    if ("image" in row) == ("source" in row):
        raise UsageError(f"kernel {name}: needs either an image or a source")
    for pattern in ("release", "image", "source"):
        re.compile(row.get(pattern, ""))
    fragments = {key: base / row[key] for key in ("fragment", "extends") if key in row}
    suites, libraries = tuple(row["suites"]), tuple(row.get("library_suites", ()))
    tests = tuple(base / name for name in row.get("tests", ()))
    made = {"suites": suites, "library_suites": libraries, "tests": tests, **fragments}
    return Kernel(**{**row, **made, "features": frozenset(row["features"])})


def select(matrix: Matrix, wanted: Sequence[str]) -> list[Kernel]:
    """The kernels called ``wanted``, each by its name or by an unambiguous beginning of it; all when none
    is."""
    if not wanted:
        return list(matrix.kernels)
    chosen = {_one(matrix, name).name for word in wanted for name in word.split(",") if name}
    return [kernel for kernel in matrix.kernels if kernel.name in chosen]


def _one(matrix: Matrix, name: str) -> Kernel:
    exact = [kernel for kernel in matrix.kernels if kernel.name == name]
    found = exact or [kernel for kernel in matrix.kernels if kernel.name.startswith(name)]
    if len(found) != 1:
        names = ", ".join(kernel.name for kernel in found or matrix.kernels)
        raise UsageError(
            f"{'several kernels begin with' if found else 'no kernel is called'} {name!r}",
            f"there are {names}",
        )
    return found[0]
