"""Prints what pyproject.toml declares with the lowest versions that it allows, as requirements: ``click==8.4``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for requirement in project["dependencies"]:
    found = re.fullmatch(r"([A-Za-z0-9_-]+)>=([0-9.]+)(?:,<[0-9.]+)?", requirement)
    if found is None:
        raise SystemExit(f"no lowest version in {requirement!r}")
    print(f"{found[1]}=={found[2]}")
