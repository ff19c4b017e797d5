"""All rows of the table."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from tests.vm.attacks import Row

_OWN = {"rows", "runs", "target", "programs"}


def _found() -> Iterator[Row]:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name not in _OWN:
            for row in import_module(f"tests.vm.attacks.{module.name}").ROWS:
                yield replace(row, kind=module.name)


#: Every row; no two have one name.
ROWS: tuple[Row, ...] = tuple(_found())
assert len({row.name for row in ROWS}) == len(ROWS), "two rows have one name"
