"""What docs/npm.md shows is what happens, as far as this kernel can enforce it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tracer import ROOT

from isotrace.enforce.calls import notify
from isotrace.kernel import landlock
from tests import console

PLACE = Path("/opt/isotrace-npm")


@pytest.mark.native
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_the_commands_of_the_page(tmp_path: Path) -> None:
    refuses = notify.listens().verdict == "yes" and landlock.abi() >= 4
    shutil.rmtree(PLACE, ignore_errors=True)
    try:
        console.run(ROOT / "docs/npm.md", tmp_path, *(["block"] if refuses else []))
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)
